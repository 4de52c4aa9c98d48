"""The local stack: a Prefect server, the work pool, every deployment, a worker.

    with Stack(data_dir) as stack:
        stack.start()

Processes are ended in order when the ``with`` block ends, however it ends: the worker, which has
its runs cancelled first, then the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deployments.claim import Claim, Claimed
from deployments.process import Child, wait_until
from deployments.server import (
    HOST,
    KEPT_LEASES,
    LEASE_STORAGE,
    Address,
    client_of,
    free_port,
    home_of,
)
from deployments.work_pool import (
    create_work_pool,
    deployments_of,
    online_workers,
    work_pool_name,
)
from haas_media.settings_sources import telemetry_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect.client.orchestration import SyncPrefectClient

DEFAULT_PORT = 4200
ROOT = Path(__file__).resolve().parent.parent

# Of a small machine that is busy; one that dies meanwhile is noticed at once.
START_SECONDS = 300.0
WORKER_STOP_SECONDS = 60.0  # Prefect kills a run's process 30 s after it asked it to stop
PROCESS_STOP_SECONDS = 10.0

# What a user of a local server neither wants sent out nor shown.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLI_PROMPT": "false",
}
# Settings of the surrounding that belong to another server than the one started here.
FOREIGN = (
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_PROFILE",
    "PREFECT_SERVER_API_AUTH_STRING",
)


class StackError(Exception):
    """Something of the stack did not start or died. The text says what, and shows its log."""


class Stack:
    """The processes of a Haas Media installation on one machine.

    Args:
        data_dir: where all state goes: server database, logs, catalog, traces.
        environment: what the processes inherit; by default this process's environment.
        port: the server's port; another free one is taken if it is in use. 0: any free one.
        api_url: use this server instead of starting one.
        worker_environment: variables for the worker and its runs, over the inherited ones.
        drain: how many seconds runs may go on when the stack is stopped.

    Raises:
        WorkPoolNameError: the work pool cannot be called as ``environment`` has it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = DEFAULT_PORT,
        api_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        worker_environment: Mapping[str, str] | None = None,
        drain: float = 0,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.server: Child | None = None
        self.workers: dict[str, Child] = {}
        self.watch: Child | None = None
        self.wanted_port = port
        self._api_url = api_url
        self._given = api_url is not None
        self._inherited = dict(os.environ if environment is None else environment)
        self._worker_environment = dict(worker_environment or {})
        self._drain = drain
        self._claim: Claim | None = None
        self.work_pool = work_pool_name(self._inherited)

    def __enter__(self) -> Self:
        """Claim the data directory."""
        self.claim()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of the stack and give the data directory free."""
        self.close()

    def claim(self) -> None:
        """Claim the data directory.

        Raises:
            StackError: another stack uses it, or it cannot be written to.
        """
        try:
            self._claim = Claim(self.data_dir)
        except Claimed as other:
            where = f" at {Address(str(other)).ui}" if str(other) else ""
            raise StackError(
                f"Haas Media is already up{where} with the data directory {self.data_dir}. "
                "Stop it first, or set HAAS_DATA_DIR to another directory."
            ) from None
        except OSError as error:
            raise StackError(
                f"The data directory {self.data_dir} cannot be written to: {error.strerror}. "
                "Set HAAS_DATA_DIR to one that can."
            ) from None

    def close(self, number: int = signal.SIGINT) -> None:
        """End every process of the stack and give the data directory free.

        Interrupted, it ends them at once.

        Args:
            number: the signal that the worker gets; SIGTERM is a stop by the system.
        """
        try:
            self.stop(number)
        except BaseException:
            self.kill()
            raise
        finally:
            if self._claim is not None:
                self._claim.release()
                self._claim = None

    def start(self) -> None:
        """Bring everything up: server, work pool, deployments, worker."""
        self.start_server()
        self.create_work_pool()
        self.start_worker()
        self.deploy()
        self.wait_for_workers()

    @property
    def address(self) -> Address:
        """Where the server is.

        Raises:
            StackError: it has not been started.
        """
        if self._api_url is None:
            raise StackError("The Prefect server has not been started.")
        return Address(self._api_url)

    @property
    def _home(self) -> Path:
        return self.data_dir / "prefect"

    @property
    def logs(self) -> Path:
        """The directory of the log files."""
        return self.data_dir / "logs"

    @property
    def traces(self) -> Path:
        """The directory of the embedded trace store."""
        return telemetry_dir(self.data_dir, self._inherited | self._worker_environment)

    def start_server(self) -> Address:
        """Start the Prefect server, unless one was given, and wait until it answers.

        Raises:
            StackError: it does not come up.
        """
        if self._api_url is None:
            port = free_port(self.wanted_port)
            while not self._serve(port):
                port = free_port(0)
            self._forget_missed()
        if self._claim is not None:
            self._claim.tell(self.address.api)
        return self.address

    def _forget_missed(self) -> None:
        from deployments.runs import forget_missed

        with self.client() as client:
            forget_missed(client)

    def _serve(self, port: int) -> bool:
        """Start the server on a port; return False when somebody took the port meanwhile."""
        self._api_url = f"http://{HOST}:{port}/api"
        argv = ["server", "start", "--host", HOST, "--port", str(port)]
        environment = (
            {LEASE_STORAGE: KEPT_LEASES}
            | self._environment()
            | {"PREFECT_UI_API_URL": self._api_url}
        )
        child = self.server = self._child("Prefect server", argv, environment, "server.log")

        def settled() -> bool:
            return child.returncode is not None or home_of(self.address.api) == self._home

        if not wait_until(settled, START_SECONDS):
            raise self._late(child)
        if child.returncode is None:
            return True
        # Its services may not have begun yet and fail to stop, which it tells at length after that.
        if "already in use" not in child.tail(1000):
            raise self._failure(child)
        return False

    def create_work_pool(self) -> None:
        """Create the work pool unless it is there.

        Raises:
            StackError: it is there, and is not for processes.
        """
        with self.client() as client:
            kind = create_work_pool(client, self.work_pool)
        if kind != "process":
            raise StackError(
                f"The work pool {self.work_pool} at {self.address.ui} is of type {kind}: start a "
                f"worker of that type yourself: `prefect worker start --pool {self.work_pool}`."
            )

    def deploy(self) -> list[str]:
        """Deploy everything in ``prefect.yaml``; return the names, as ``flow/deployment``.

        Raises:
            StackError: Prefect refuses the file or a flow cannot be loaded.
        """
        file = ROOT / "prefect.yaml"
        if not file.exists():
            raise StackError(f"{file} is missing: run this from a checkout of the repository.")
        argv = ["--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        child = self._child("prefect deploy", argv, self._environment(), "deploy.log", cwd=ROOT)
        try:
            if child.wait(START_SECONDS) != 0:
                raise self._failure(child)
        finally:
            child.stop(PROCESS_STOP_SECONDS)  # it puts back what a person did in the UI
        return self.deployments()

    def put_up_automations(self) -> list[str]:
        """Have people told where ``HAAS_NOTIFY`` says; return a sentence for each change.

        Raises:
            StackError: a variable is wrong.
        """
        from deployments.automations import NOTIFY, NotifyError, put_up

        try:
            with self.client() as client:
                return put_up(client, self._inherited.get(NOTIFY, "").strip() or None)
        except NotifyError as error:
            raise StackError(str(error)) from None

    def deployments(self) -> list[str]:
        """Return what the server has for the work pool, as ``flow/deployment``."""
        with self.client() as client:
            return sorted(deployments_of(client, self.work_pool))

    def start_worker(
        self, name: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a process worker.

        Args:
            name: its name; unique on the server. By default made of host and process id.
            environment: further variables for it and its runs.
        """
        name = name or f"haas-{socket.gethostname()}-{os.getpid()}-{len(self.workers) + 1}"
        argv = ["worker", "--pool", self.work_pool, "--name", name, "--drain", str(self._drain)]
        self.traces.mkdir(parents=True, exist_ok=True)  # so that `haas traces` looks there
        full = self._environment() | self._for_runs() | dict(environment or {})
        # A working directory of its own: flows are found through the deployment's pull step.
        self.workers[name] = self._child(
            "worker", argv, full, f"{name}.log", cwd=self.data_dir, module="deployments.cli"
        )
        return self.workers[name]

    def start_watch(self) -> Child:
        """Start to watch the libraries."""
        full = self._environment() | self._for_runs()
        child = self._child(
            "watch", ["watch"], full, "watch.log", cwd=self.data_dir, module="deployments.cli"
        )
        self.watch = child
        return child

    def wait_for_workers(self) -> None:
        """Wait until the server sees every worker of this stack online.

        Raises:
            StackError: one died or does not come online.
        """
        for name, child in self.workers.items():
            self._await(child, lambda name=name: name in self.online())

    def online(self) -> set[str]:
        """Return the names of the workers that the server sees online."""
        with self.client() as client:
            return online_workers(client, self.work_pool)

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Open a client of the server.

        Raises:
            ServerError: it does not answer, or refuses what it is asked.
        """
        with client_of(self.address.api) as client:
            yield client

    def check(self) -> None:
        """Refuse to go on when a process of the stack has died.

        Raises:
            StackError: one has; with the end of its log.
        """
        for child in self._children():
            if child.returncode is not None:
                raise self._failure(child)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End workers, which have their runs end before, then the server. Safe to call twice.

        Args:
            number: the signal that workers get; SIGTERM is a stop by the system.
        """
        if self.watch is not None:
            self.watch.stop(PROCESS_STOP_SECONDS)
            self.watch = None
        for child in self.workers.values():
            child.send(number)
        for child in self.workers.values():
            if child.wait(WORKER_STOP_SECONDS + self._drain) is None:
                child.kill()
        self.workers.clear()
        if self.server is not None:
            self.server.stop(PROCESS_STOP_SECONDS)
            self.server = None
            self._api_url = None

    def kill(self) -> None:
        """End every process at once; runs are left as they are."""
        for child in self._children():
            child.kill()

    def _children(self) -> Iterator[Child]:
        return filter(None, [self.watch, *self.workers.values(), self.server])

    def _environment(self) -> dict[str, str]:
        """Return the environment that makes a process talk to this stack's server."""
        environment = {**self._inherited, **QUIET, "PREFECT_API_URL": self.address.api}
        if not self._given:
            for name in FOREIGN:
                environment.pop(name, None)
            environment["PREFECT_HOME"] = str(self._home)
            environment["PREFECT_UI_URL"] = self.address.pages
            environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = (
                f"sqlite+aiosqlite:///{self._home / 'prefect.db'}"
            )
        return environment

    def _for_runs(self) -> dict[str, str]:
        return {
            "HAAS_DATA_DIR": str(self.data_dir),
            "HAAS_OTEL_DIR": str(self.traces),
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
            # Seconds that a run waits for the worker: the default is tuned for far-away servers.
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **self._worker_environment,
        }

    def _child(
        self,
        name: str,
        arguments: list[str],
        environment: Mapping[str, str],
        log: str,
        cwd: Path | None = None,
        module: str = "prefect",
    ) -> Child:
        argv = [sys.executable, "-m", module, *arguments]
        return Child(name, argv, environment, self.logs / log, cwd or self.data_dir)

    def _await(self, child: Child, condition: Any) -> None:
        if not wait_until(lambda: child.returncode is not None or condition(), START_SECONDS):
            raise self._late(child)
        if child.returncode is not None:
            raise self._failure(child)

    def _late(self, child: Child) -> StackError:
        return StackError(
            f"The {child.name} did not come up within {START_SECONDS:.0f} s.\n{_shown(child)}"
        )

    def _failure(self, child: Child) -> StackError:
        return StackError(
            f"The {child.name} ended with exit code {child.returncode}.\n{_shown(child)}"
        )


def _shown(child: Child) -> str:
    return f"The end of {child.log}:\n{child.tail()}"
