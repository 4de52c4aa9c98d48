"""A real Prefect server and real process workers on 127.0.0.1, to be stopped, killed and restarted.

Every process is started from the environment that the tests run in, has its own session, and is
ended by its process id.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil

from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pytest

PREFECT = [sys.executable, "-m", "prefect"]
OURS = [sys.executable, "-m", "deployments.cli"]
# The database of a server that has just begun: to make its tables takes longer than the rest.
MIGRATED = Path(__file__).parents[2] / ".pytest_cache" / f"prefect-{version('prefect')}.db"


def free_port() -> int:
    """Return a port for a server that starts later, or again.

    Not one of those that the system gives to whoever asks for any, as each connection does.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output added to a log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def servers_go_first() -> None:
    """Let the Prefect servers of this process wait for no processor, where this user may say so.

    On SQLite, a server refuses what reads before it writes while another writes. On a busy machine
    that is most of it, until a client has asked six times and gives up.
    """
    for child in psutil.Process().children():
        with suppress(OSError, psutil.Error):
            if "server" in child.cmdline():
                child.nice(-15)
                # A session of its own goes by this one.
                Path(f"/proc/{child.pid}/autogroup").write_text("-15")


@dataclass
class PrefectProcesses:
    """A server with its database and home in ``home``, and its workers by name."""

    home: Path
    port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def shared(cls, folders: pytest.TempPathFactory) -> Iterator[PrefectProcesses]:
        """Give the server that all tests of this process share; who had it first, ends it."""
        if _shared:
            yield _shared[0]
            return
        processes = cls(folders.mktemp("prefect") / "home")
        _shared.append(processes)
        try:
            processes.start_server()
            yield processes
        finally:
            _shared.clear()
            processes.stop()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of this server; no setting of the machine's gets in."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PREFECT_", "OTEL_", "HAAS_"))
        }
        return {
            **kept,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
                f"sqlite+aiosqlite:///{self.home / 'prefect.db'}"
            ),
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # each writes, see servers_go_first
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "NO_COLOR": "1",
            **self.extra,
        }

    def start_server(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        database = self.home / "prefect.db"
        if MIGRATED.exists() and not database.exists():
            shutil.copy(MIGRATED, database)
        self.server = self._start(
            "server",
            ["server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
            self.environment,
        )
        servers_go_first()
        wait_until(self.answers, interval=0.3, what="the Prefect server")
        if database.exists() and not MIGRATED.exists():
            MIGRATED.parent.mkdir(exist_ok=True)
            draft = MIGRATED.with_suffix(f".{os.getpid()}")
            with closing(sqlite3.connect(database)) as own, closing(sqlite3.connect(draft)) as copy:
                own.backup(copy)
            draft.rename(MIGRATED)

    def answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.api_url}/health", timeout=10, verify=False).is_success
        return False

    def stop_server(self) -> None:
        if self.server is not None:
            end(self.server)
            self.server = None

    def start_worker(
        self,
        name: str,
        pool: str,
        *options: str,
        environment: dict[str, str] | None = None,
        program: Sequence[str | Path] = PREFECT,
    ) -> subprocess.Popen[bytes]:
        """Start a plain worker of Prefect's."""
        arguments = ["worker", "start", "--pool", pool, "--type", "process", "--name", name]
        arguments += options
        worker = self._start(name, arguments, {**self.environment, **(environment or {})}, program)
        self.workers[name] = worker
        return worker

    def start_our_worker(
        self, name: str, pool: str, *options: str, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start `haas worker`."""
        argv = [*OURS, "worker", "--pool", pool, "--name", name, *options]
        full = {**self.environment, **environment}
        self.workers[name] = start(argv, full, self.home / f"{name}.log", self.home)
        return self.workers[name]

    def kill_worker(self, name: str) -> None:
        """SIGKILL a worker, and only it: its runs go on as orphans."""
        worker = self.workers.pop(name)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def stop(self) -> None:
        for worker in self.workers.values():
            end(worker)
        self.workers.clear()
        self.stop_server()

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def _start(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        program: Sequence[str | Path] = PREFECT,
    ) -> subprocess.Popen[bytes]:
        argv = [*map(str, program), *arguments]
        return start(argv, environment, self.home / f"{name}.log", self.home)


_shared: list[PrefectProcesses] = []


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: SIGTERM, then SIGKILL."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    if process.poll() is None:
        process.kill()
    process.wait()
