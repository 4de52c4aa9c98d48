"""The topology of ``deployments/compose/compose.yaml`` without Docker: its services as processes.

Commands and environments are read out of the compose file. Only addresses and folders are replaced,
so that a test of this topology is a test of that file. Each worker is a machine of its own as far
as a process can be one: working directory, Prefect home, data directory, span directory, host name.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from deployments.process import Child
from deployments.work_pool import online_workers, work_pool_name
from tests.e2e.api import Api
from tests.e2e.prefect_processes import end, free_port
from tests.parts import require
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deployments" / "compose"
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z_]+)(?::(?P<kind>[-?])(?P<default>[^}]*))?\}")
PASSWORD = "moderately-secret"


def compose_file(variables: Mapping[str, str]) -> dict[str, Any]:
    """Read the compose file as Docker does: variables put in, ``$$`` made ``$``.

    Args:
        variables: what ``.env`` would hold.

    Raises:
        KeyError: one that has to be set is not.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, kind, default = found["name"], found["kind"], found["default"]
        given = variables.get(name, "")
        if not given and kind == "?":
            raise KeyError(f"{name}: {default}")
        return given or default or ""

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: resolved(below) for key, below in node.items()}
        if isinstance(node, list):
            return [resolved(each) for each in node]
        return VARIABLE.sub(value, node) if isinstance(node, str) else node

    found: dict[str, Any] = resolved(yaml.safe_load((COMPOSE / "compose.yaml").read_text()))
    return found


def postgres_programs() -> Path | None:
    """Return the folder of a PostgreSQL that has pg_trgm, which Prefect's schema needs."""
    for control in sorted(Path("/usr/share/postgresql").glob("*/extension/pg_trgm.control")):
        programs = Path("/usr/lib/postgresql") / control.parts[-3] / "bin"
        if (programs / "initdb").exists() and (programs / "postgres").exists():
            return programs
    return None


def require_servers() -> None:
    """Skip the test where PostgreSQL or Redis is not installed."""
    require("PostgreSQL with pg_trgm", postgres_programs(), "apt-get install postgresql")
    require("redis-server", shutil.which("redis-server"), "apt-get install redis-server")


@dataclass
class Machines:
    """The services of the compose file, as processes on 127.0.0.1.

    Args:
        folder: where everything of them goes; PostgreSQL's user must be able to look into it.
        libraries: the folder that would be mounted as ``/libraries``.
        variables: what ``.env`` would hold.
    """

    folder: Path
    libraries: Path
    variables: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in ("postgres", "redis", "server")}
        given = {"POSTGRES_PASSWORD": PASSWORD, "LIBRARIES": str(self.libraries)}
        self.compose = compose_file(given | self.variables)
        self.api = Api(self.api_url)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['server']}/api"

    def start(self) -> None:
        """Start all but the workers, in the order of the compose file's dependencies."""
        self._start_postgres()
        self._start_redis()
        self.run("migrate")
        self.processes["server"] = self._child("server")
        self.processes["background"] = self._child("background")
        wait_until(self._answers, what="the Prefect server")
        self.run("deploy")

    def stop(self) -> None:
        """End every process, workers first, the databases last."""
        for name in reversed(list(self.processes)):
            end(self.processes.pop(name)._process)

    def start_worker(self, name: str) -> str:
        """Start a worker on a machine of that name; return the worker's name."""
        self.processes[name] = self._child("worker", machine=name)
        worker = f"worker-{name}"
        wait_until(lambda: worker in self.online(), what=f"{worker} to come online")
        return worker

    def stop_worker(self, name: str) -> None:
        end(self.processes.pop(name)._process)

    def kill_machine(self, name: str) -> None:
        """SIGKILL a worker and all that it runs: its machine lost power."""
        child = self.processes.pop(name)
        family = psutil.Process(child.pid).children(recursive=True)
        child._process.send_signal(signal.SIGKILL)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        child._process.wait()

    def online(self) -> set[str]:
        """Return the names of the workers that the server sees online."""
        return online_workers(self.api.client, work_pool_name(self.environment("worker", "none")))

    def run(self, service: str) -> None:
        """Run a service that ends."""
        child = self._child(service)
        try:
            assert child.wait(180) == 0, child.tail(40)
        finally:
            child.kill()

    def environment(self, service: str, machine: str) -> dict[str, str]:
        """Return what a service sees: the compose file's variables, no other setting."""
        given = self.compose["services"][service].get("environment", {})
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "OTEL_", "HAAS_"))
        }
        # One without a value is handed on from .env, if it is there.
        own = {
            name: self._here(self.variables.get(name, "") if value is None else value, machine)
            for name, value in given.items()
            if value is not None or name in self.variables
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        told = {"HOSTNAME": machine, "PATH": path, "NO_COLOR": "1", "DO_NOT_TRACK": "1"}
        return kept | own | told

    def folder_of(self, machine: str) -> Path:
        return self.folder / machine

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def catalog_sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the catalog's database."""
        return list(self._sql("catalog", statement))

    def prefect_sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database of the Prefect server."""
        return list(self._sql("prefect", statement))

    def _sql(self, database: str, statement: str) -> Iterator[tuple[Any, ...]]:
        import psycopg

        address = f"postgresql://haas:{PASSWORD}@127.0.0.1:{self.ports['postgres']}/{database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            yield from cursor.fetchall() if cursor.description else ()

    def _here(self, text: str, machine: str) -> str:
        """Put addresses and folders of this machine where the compose file has a container's."""
        folder = self.folder_of(machine)
        here = {
            "@postgres:5432": f"@127.0.0.1:{self.ports['postgres']}",
            "//redis:6379": f"//127.0.0.1:{self.ports['redis']}",
            "//server:4200": f"//127.0.0.1:{self.ports['server']}",
            "/etc/haas/haas.toml": str(folder / "haas.toml"),
            "/var/lib/haas": str(folder / "data"),
            "/tmp/prefect": str(folder / "prefect"),
            "/libraries": str(self.libraries),
            "/app": str(ROOT),
        }
        return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)

    def _child(self, service: str, machine: str | None = None) -> Child:
        machine = machine or service
        told = self.compose["services"][service]
        command = [str(part) for part in told["command"]]
        if service == "server":
            here = {"0.0.0.0": "127.0.0.1", "4200": str(self.ports["server"])}
            command = [here.get(part, part) for part in command]
        folder = self.folder_of(machine)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        settings = (COMPOSE / "haas.toml").read_text()
        (folder / "haas.toml").write_text(self._here(settings, machine))
        return Child(
            machine,
            command,
            self.environment(service, machine),
            self.folder / f"{machine}.log",
            cwd=Path(self._here(told.get("working_dir", str(folder)), machine)),
        )

    def _answers(self) -> bool:
        from deployments.server import answers

        self.check("server", "background")
        return answers(self.api_url)

    def check(self, *names: str) -> None:
        """Fail when one of these processes has ended."""
        for name in names:
            child = self.processes[name]
            assert child.returncode is None, f"{name} ended:\n{child.tail(40)}"

    def _start_postgres(self) -> None:
        """Make a database server as the image does: one user, one database, the mounted script."""
        programs = postgres_programs()
        assert programs is not None
        data = self.folder / "postgres"
        data.mkdir(mode=0o700)
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            shutil.chown(data, user, user)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        wanted = ["-U", "haas", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        subprocess.run(
            [programs / "initdb", "-D", data, *wanted],
            user=user,
            check=True,
            capture_output=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )
        # What a process is told at its parent's death is forgotten when its user changes.
        as_user = ["setpriv", "--pdeathsig=TERM", f"--reuid={user}", f"--regid={user}"]
        self.processes["postgres"] = Child(
            "postgres",
            [
                *([*as_user, "--clear-groups"] if user else []),
                *(str(programs / "postgres"), "-D", str(data)),
                *("-p", str(self.ports["postgres"]), "-h", "127.0.0.1"),
                *("-c", "unix_socket_directories=", "-c", "fsync=off"),
            ],
            dict(os.environ),
            self.folder / "postgres.log",
            cwd=Path("/"),
        )
        admin = "postgres"

        def ready() -> bool:
            with suppress(Exception):
                return bool(list(self._sql(admin, "SELECT 1")))
            return False

        wait_until(ready, what="PostgreSQL")
        script = (COMPOSE / "databases.sql").read_text()
        named = self.compose["services"]["postgres"]["environment"]["POSTGRES_DB"]
        list(self._sql(admin, f"CREATE DATABASE {named}"))
        list(self._sql(named, "\n".join(x for x in script.splitlines() if x[:2] != "--")))

    def _start_redis(self) -> None:
        command = [str(part) for part in self.compose["services"]["redis"]["command"]]
        folder = self.folder / "redis"
        folder.mkdir()
        here = ["--port", str(self.ports["redis"]), "--bind", "127.0.0.1", "--dir", str(folder)]
        log = self.folder / "redis.log"
        self.processes["redis"] = Child("redis", [*command, *here], dict(os.environ), log, folder)
        wait_until(lambda: "Ready to accept" in self.log("redis"), what="Redis")
