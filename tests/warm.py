"""Python programs, run in forks of a process that has imported already what takes them long.

Importing Prefect costs a second of each process. A fork of one that has done so is a process of its
own all the same: it has its own id, environment, folder, output, signals, and it exits as any other
does. A test that asks what an import costs or brings along, or how a program is found, starts a
real one.

>>> done = warm().run("-m", "deployments.cli", "traces", env={}, cwd=folder)
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

import psutil

from tests.waits import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
# What programs of ours import while they run. Nothing of this starts a thread or reads a setting
# that the forks do not read again; modules that define tasks are left out.
MODULES = """
    prefect.main prefect.flow_engine prefect.task_engine prefect.artifacts prefect.deployments
    prefect.runtime prefect.events.clients prefect.events.worker prefect.client.orchestration
    prefect.workers.process prefect.logging.handlers prefect.blocks.system
    opentelemetry.sdk.trace opentelemetry.sdk.metrics opentelemetry.sdk._configuration
    opentelemetry.instrumentation.httpx grpc requests
    opentelemetry.exporter.otlp.proto.grpc.trace_exporter
    opentelemetry.exporter.otlp.proto.http.trace_exporter
    sqlalchemy.orm sqlalchemy.dialects.sqlite alembic.command alembic.script
    av guessit defusedxml.ElementTree psycopg rich.console rich.markdown cyclopts
    haas_otel.delivery.setup haas_otel.delivery.store
    haas_media.catalog haas_media.scan haas_media.providers.tmdb
    haas_media.encoding haas_media.encoding.job
    haas_media.library.add haas_media.library.cleanup haas_media.library.refresh
    haas_media.library.remove
    deployments.check deployments.listing deployments.traces
"""


@dataclass(frozen=True)
class Program:
    """A program that runs in a fork. ``wait`` returns its exit code as ``subprocess`` does."""

    pid: int
    _ended: socket.socket

    def wait(self, timeout: float = PATIENCE) -> int:
        self._ended.settimeout(timeout)
        return int(self._ended.recv(64))

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class Warm:
    """A process that has imported these modules, to be forked."""

    def __init__(self, *modules: str) -> None:
        self._forks, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAAS_", "PREFECT_"))}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                env=kept | {"PYTHONPATH": str(ROOT), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
                cwd="/",  # where no prefect.toml is
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def start(
        self, *argv: str, env: Mapping[str, str], cwd: Path, files: tuple[IO[Any], ...]
    ) -> Program:
        """Start a program.

        Args:
            argv: what would follow ``python``: ``-c``, ``-m`` or a file, and arguments.
            env: its whole environment.
            cwd: its folder.
            files: its standard input, output and error.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            told = json.dumps([argv, dict(env), str(cwd)]).encode()
            fds = [theirs.fileno(), *(file.fileno() for file in files)]
            socket.send_fds(self._forks, [told], fds)
        return Program(int(ours.recv(64)), ours)

    def run(
        self,
        *argv: str,
        env: Mapping[str, str],
        cwd: Path,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; return what it printed, and its exit code."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin)
            given.seek(0)
            code = self.start(*argv, env=env, cwd=cwd, files=(given, out, err)).wait()
            told = []
            for file in (out, err):
                file.seek(0)
                told.append(file.read().decode(errors="surrogateescape"))
        return subprocess.CompletedProcess(argv, code, *told)

    def close(self) -> None:
        self._forks.close()
        self._process.wait(PATIENCE)


@cache
def warm() -> Warm:
    """Return the process that all tests of this one share."""
    shared = Warm(*MODULES.split())
    atexit.register(shared.close)
    return shared


Request = tuple[list[str], dict[str, str], str]


def _serve(requests: socket.socket) -> Request | None:
    """Fork for each request; return in the forks, with what they are to do."""
    while True:
        told, fds, _, _ = socket.recv_fds(requests, 1 << 20, 4)
        if not told:
            return None
        if os.fork() == 0:  # to wait for the program, so that the next one can be started
            break
        for fd in fds:
            os.close(fd)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    ended = socket.socket(fileno=fds[0])
    if pid := os.fork():
        ended.send(b"%d" % pid)
        ended.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    for number, fd in enumerate(fds[1:]):
        os.dup2(fd, number)
    request: Request = json.loads(told)
    return request


def _become(environment: dict[str, str], folder: str) -> None:
    """Have the fork begin as a process does that was started with these."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    refresh_global_settings_context()
    setup_logging()


def _run(kind: str, *rest: str) -> None:
    """Run what would follow ``python`` on a command line."""
    if kind == "-m":
        sys.argv[1:], sys.path[0] = rest[1:], ""
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    if kind == "-c":
        code, sys.argv, sys.path[0] = rest[0], ["-c", *rest[1:]], ""
    else:
        code, sys.argv, sys.path[0] = Path(kind).read_text(), [kind, *rest], str(Path(kind).parent)
        main.__file__ = kind
    exec(compile(code, kind, "exec"), main.__dict__)


def _main(requests: str, *modules: str) -> None:
    for module in modules:
        import_module(module)
    assert psutil.Process().num_threads() == 1, "a fork has one thread only"
    gc.freeze()
    with socket.socket(fileno=int(requests)) as opened:
        request = _serve(opened)
    if request is not None:
        argv, environment, folder = request
        _become(environment, folder)
        _run(*argv)


if __name__ == "__main__":
    _main(*sys.argv[1:])
