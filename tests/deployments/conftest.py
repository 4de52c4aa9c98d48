"""One real stack for all tests of this room, and a clean environment for commands."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from deployments.samples import SampleLibrary, make_samples
from deployments.server import LEASE_STORAGE
from deployments.stack import Stack
from deployments.work_pool import deployments_of
from haas_media.encoding import find_ffmpeg
from tests.faulty_port import FaultyPort
from tests.http_server import HttpServer, Reply
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deployments.check_mistakes import Mistake

ROOT = Path(__file__).parent.parent.parent
FOREIGN = ("HAAS_", "PREFECT_", "OTEL_")
DEFAULT_LEASES = "prefect.server.concurrency.lease_storage.memory"
MARKS = {"✓": "right", "·": "note", "✗": "wrong"}


def clean_environment(home: Path) -> dict[str, str]:
    """Return this process's environment without any setting of ours, Prefect's, OpenTelemetry's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PREFECT_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleLibrary:
    return make_samples(tmp_path_factory.mktemp("samples"), find_ffmpeg())


class Finished(NamedTuple):
    code: int
    out: str
    err: str


class Line(NamedTuple):
    """What `haas check` says of a thing: right, note or wrong, and why."""

    what: str
    how: str
    text: str


def settings_of(samples: SampleLibrary, folder: Path) -> Path:
    """Write a ``haas.toml`` with both sample libraries."""
    config = folder / "haas.toml"
    config.write_text(
        f'[[libraries]]\ntitle = "Films"\nkind = "movies"\npath = "{samples.films}"\n'
        f'[[libraries]]\ntitle = "Shows"\nkind = "tv"\npath = "{samples.shows}"\n'
    )
    return config


@dataclass(frozen=True)
class Command:
    """Runs ``haas`` as a user does: in a process of its own."""

    environment: dict[str, str]
    cwd: Path

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Finished:
        full = self.environment | dict(environment or {})
        cli = ("-m", "deployments.cli")
        done = warm().run(*cli, *arguments, env=full, cwd=self.cwd, stdin=stdin)
        return Finished(done.returncode, done.stdout, done.stderr)

    def check(self, *arguments: str, **environment: str) -> list[Line]:
        """Run ``haas check``; return what it says, line by line."""
        return lines(self("check", *arguments, environment=environment))


def lines(shown: Finished) -> list[Line]:
    assert "Traceback" not in shown.err + shown.out
    found = []
    for mark, rest in (line.strip().split(" ", 1) for line in shown.out.splitlines()):
        found.append(Line(rest[:12].strip(), MARKS[mark], rest[12:].strip()))
    assert shown.code == (1 if "wrong" in {line.how for line in found} else 0)
    return found


def line_of(mistake: Mistake, **values: object) -> Line:
    return Line(mistake.what, mistake.how, mistake.text.format(**values))


def libraries(**paths: Path) -> str:
    """Return what HAAS_LIBRARIES is to be for these folders of films."""
    made = [{"title": name, "kind": "movies", "path": str(path)} for name, path in paths.items()]
    return json.dumps(made)


@pytest.fixture
def haas(tmp_path: Path) -> Command:
    environment = clean_environment(tmp_path / "prefect")
    environment |= {"HAAS_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return Command(environment, tmp_path)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, samples: SampleLibrary) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    config = settings_of(samples, home)
    with Stack(
        home / "data",
        port=0,
        environment=clean_environment(home / "prefect"),
        worker_environment={"HAAS_CONFIG": str(config)},
    ) as running:
        running.start()
        wait_until(lambda: not idle(running), what="a worker that asks for every deployment")
        yield running


def idle(stack: Stack) -> list[str]:
    """Return the deployments that no worker has asked for since they were made."""
    with stack.client() as client:
        found = deployments_of(client, stack.work_pool)
    return [name for name, each in found.items() if each.status != "READY"]


@pytest.fixture(scope="package")
def other_server() -> Iterator[FaultyPort]:
    """Answers as a Prefect server whose home is elsewhere, as soon as it is to listen."""
    with closing(HttpServer(lambda *_: Reply(200, b'{"home": "/elsewhere"}'))) as server:
        port = FaultyPort(server.port, 0)
        port.set_mode("refuse")
        yield port
        port.stop()


@pytest.fixture(scope="package")
def fresh(tmp_path_factory: pytest.TempPathFactory, other_server: FaultyPort) -> Iterator[Stack]:
    """A server with nothing on it, whose port was taken by another one while it started.

    Its leases are kept as Prefect does by default, not as `haas up` does.
    """
    home = tmp_path_factory.mktemp("fresh")
    port = other_server.port
    environment = clean_environment(home) | {LEASE_STORAGE: DEFAULT_LEASES}
    with Stack(home, port=port, environment=environment) as stack:

        def take_the_port() -> None:
            wait_until(lambda: stack.server, interval=0.01)
            other_server.set_mode("pass")

        threading.Thread(target=take_the_port, daemon=True).start()
        stack.start_server()
        yield stack
