"""The programs of these tests, each a process of its own, forked from one that is warm."""

from __future__ import annotations

import os
import signal
import tempfile
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from tests.warm import Warm

# What the programs of these tests import. Nothing of this reads a variable that forks have anew.
MODULES = [
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "pydantic.v1",
    "fastapi",
    "anyio._backends._asyncio",
    "haas_otel.delivery.setup",
    "haas_otel.delivery.store",
    "haas_otel._sdk",
    "grpc.experimental",
    "requests",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
]


class Started:
    """A program in a fork: it is a process of its own, with pipes to it."""

    def __init__(self, warm: Warm, *argv: str, env: dict[str, str], cwd: Path) -> None:
        given, self.stdin = self._pipe()
        self.stdout, out = self._pipe()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with this object
        with given, out:
            files: tuple[IO[str], ...] = (given, out, self._errors)
            self._program = warm.start(*argv, env=env, cwd=cwd, files=files)
        self.returncode: int | None = None
        self.send_signal = self._program.send_signal

    @staticmethod
    def _pipe() -> tuple[IO[str], IO[str]]:
        read, write = os.pipe()
        return os.fdopen(read), os.fdopen(write, "w", buffering=1)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._program.wait()
        return self.returncode

    def communicate(self, text: str = "") -> tuple[str, str]:
        """Give a program its last input, wait for its end, and return what it wrote."""
        self.stdin.write(text)
        self.stdin.close()
        self.wait()
        self._errors.seek(0)
        return self.stdout.read(), self._errors.read()

    def close(self) -> None:
        for file in (self.stdin, self.stdout, self._errors):
            file.close()


class Programs:
    """Starts programs, by default one of them, that share the variables of an environment."""

    def __init__(self, warm: Warm, program: Path, cwd: Path, **variables: str) -> None:
        self._warm = warm
        self._program = program
        self._cwd = cwd
        self._variables = {"PREFECT_LOGGING_TO_API_ENABLED": "false"} | variables
        self._started: list[Started] = []

    def start(self, *argv: str, program: Path | str = "", **variables: str) -> Started:
        env = {**os.environ, **self._variables, **variables}
        path = str(program or self._program)
        self._started.append(Started(self._warm, path, *argv, env=env, cwd=self._cwd))
        return self._started[-1]

    def run(
        self, *argv: str, program: Path | str = "", code: int = 0, **variables: str
    ) -> CompletedProcess[str]:
        """Run a program to its end, which is to be with this code; return what it wrote."""
        started = self.start(*argv, program=program, **variables)
        out, errors = started.communicate()
        assert started.returncode == code, errors
        return CompletedProcess(argv, code, out, errors)

    def end(self) -> None:
        """End those that a test left behind, and show what they wrote."""
        for started in self._started:
            if started.returncode is None:
                started.send_signal(signal.SIGKILL)
                print(*started.communicate())
            started.close()
