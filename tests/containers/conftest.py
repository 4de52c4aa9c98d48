"""The stacks of this repository in real containers, from a fresh clone, by the pages' commands.

Only for `make containers`: it needs a Docker engine, and builds images.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from deployments.samples import make_long_film
from haas_media.encoding import find_ffmpeg
from tests.e2e.api import Api
from tests.e2e.prefect_processes import free_port
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).parents[2]
collect_ignore_glob = [] if os.environ.get("HAAS_CONTAINERS") else ["test_*.py"]

FILMS = 3000
# As no installation of a user's is called.
FOREIGN = ("HAAS_", "PREFECT_", "OTEL_")
VERSION = "containers-test"


def block(page: str, first: str) -> str:
    """Return the commands of a page, from the line that begins so to the end of its block."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"^ {{4}}{re.escape(first)}.*\n(?:(?: {{4}}.*)?\n)*?(?=\S|\Z)", text, re.M)
    assert found, f"{page} has no command {first!r}"
    return "\n".join(line[4:] for line in found[0].rstrip().splitlines())


@dataclass
class Containers:
    """A clone, what its pages have brought up, and what is known of its runs."""

    clone: Path
    media: Path
    port: int = field(default_factory=free_port)
    jaeger: int = field(default_factory=free_port)
    zipkin: int = field(default_factory=free_port)
    watch: int = field(default_factory=free_port)
    otlp: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    runs: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.api = Api(self.api_url)

    @property
    def environment(self) -> dict[str, str]:
        """Variables go before .env: nothing collides with what else is up on this machine."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)},
            "PREFECT_PORT": str(self.port),
            "PREFECT_UI_API_URL": self.api_url,
            "JAEGER_PORT": str(self.jaeger),
            "OTLP_GRPC_PORT": str(self.otlp[0]),
            "OTLP_HTTP_PORT": str(self.otlp[1]),
            "HAAS_WATCH_PORT": str(self.watch),
            "HAAS_VERSION": VERSION,
            "HAAS_ENCODING_AGAIN": "true",
            "HAAS_ENCODING_LIMIT": "4",
            "HAAS_SCAN_SCHEDULE": "off",
            "ZIPKIN_PORT": str(self.zipkin),
            "GRAFANA_PASSWORD": "x",
        }

    def follow(self, commands: str, **variables: str) -> None:
        """Do what a page says, with folders of the test's in place of those that it names."""
        commands = commands.replace("/srv/media", str(self.media)).replace("sudo ", "")
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.clone,
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"

    def compose(self, *words: str, stack: str = "compose") -> str:
        """Do something with the stack of a folder of `deployments`."""
        folder = self.clone / "deployments" / stack
        return command("docker", "compose", *words, cwd=folder, env=self.environment)

    def down(self, stack: str) -> None:
        """End a stack, and remove what it kept."""
        self.compose("down", "--volumes", "--timeout", "1", stack=stack)

    def start(self, deployment: str, **parameters: object) -> UUID:
        """Start a run, when the server is there: an upgrade takes it away for a moment."""

        def started() -> UUID | None:
            with suppress(httpx.HTTPError):
                found = self.api.client.read_deployment_by_name(deployment)
                return self.api.run(found.id, parameters=parameters)
            return None

        run: UUID = wait_until(started, timeout=60, interval=0.5, what=f"a run of {deployment}")
        self.runs.append(run)
        return run

    def runs_of(self, deployment: str) -> list[UUID]:
        known = self.api.client.read_deployment_by_name(deployment).id
        runs = self.api.client.read_flow_runs(limit=200)
        return [run.id for run in runs if run.deployment_id == known]

    def encode(self, name: str) -> UUID:
        """Start an encoding that takes minutes; return when it is under way."""
        folder = f"/libraries/films/{name}"
        (self.media / "films" / name).mkdir(exist_ok=True)
        (self.media / "films" / name).chmod(0o777)
        source = f"/libraries/films/Long/{LONG}"
        run = self.start(
            "encoding/on-demand",
            source=source,
            output=f"{folder}/{name}.mkv",
            video_codec="av1",
            crf=10,
        )
        self.wait_for(run, "Running")
        wait_until(lambda: self.started_tasks(run), timeout=60)
        return run

    def started_tasks(self, run: UUID) -> list[Any]:
        return [task for task in self.api.task_runs(run) if task.start_time]

    def wait_for(self, run: UUID, *states: str, timeout: float = 240) -> FlowRun:
        def there() -> FlowRun | None:
            with suppress(httpx.HTTPError):
                found = self.api.flow_run(run)
                return found if found.state_name in states else None
            return None

        what = f"{run} to be {states}"
        found: FlowRun = wait_until(there, timeout=timeout, interval=0.5, what=what)
        return found

    def has_ended(self, run: UUID) -> bool:
        with suppress(httpx.HTTPError):
            state = self.api.flow_run(run).state
            return state is not None and state.is_final()
        return False

    def wait_for_end(self, run: UUID, timeout: float = 240) -> FlowRun:
        wait_until(lambda: self.has_ended(run), timeout=timeout, interval=0.5, what=f"{run}'s end")
        return self.api.flow_run(run)

    def container_of(self, run: UUID) -> str:
        """Return the container of the worker that has a run."""
        labels = self.api.flow_run(run).labels
        return str(labels["prefect.worker.name"]).removeprefix("worker-")

    def repetition(self, run: UUID) -> UUID:
        """Wait for the run that repeats another."""
        by = wait_until(lambda: self.api.flow_run(run).labels.get("haas.again.by"), timeout=60)
        self.runs.append(UUID(str(by)))
        return self.runs[-1]

    def spans(self, run: UUID) -> list[dict[str, Any]]:
        """Return the task spans of a run that Jaeger has, their tags with their names."""
        url = f"http://127.0.0.1:{self.jaeger}/api/traces/{run.hex}"
        found = httpx.get(url).json()["data"] or []
        return [
            {tag["key"]: tag["value"] for tag in span["tags"]}
            | {"duration": span["duration"] / 1e6}
            for trace in found
            for span in trace["spans"]
            if span["operationName"].startswith("BackgroundTask.")
        ]

    def wait_for_span(self, run: UUID, timeout: float = 60) -> dict[str, Any]:
        wait_until(lambda: self.spans(run), timeout=timeout, interval=0.5, what=f"a span of {run}")
        (span,) = self.spans(run)
        return span


LONG = "Long.2000.mkv"


def command(*words: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shutil.which("docker"), "Docker is missing: https://docs.docker.com/engine/install/"
    folder = tmp_path_factory.mktemp("fresh") / "haas-media"
    # What is checked out may be on no branch, and `git pull` asks for one.
    origin = folder.with_suffix(".git")
    command("git", "clone", "--quiet", "--bare", str(ROOT), str(origin))
    command("git", "update-ref", "refs/heads/main", "HEAD", cwd=origin)
    command("git", "symbolic-ref", "HEAD", "refs/heads/main", cwd=origin)
    command("git", "clone", "--quiet", str(origin), str(folder))
    # These tests remove the volumes in the end, which are not to be those of an installation here.
    for file in folder.glob("deployments/**/compose.yaml"):
        names = re.sub(r"^( *name: )haas-", r"\1haas-test-", file.read_text(), flags=re.M)
        file.write_text(names)
    return folder


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a library that takes a scan some seconds, and a film that takes an encoder minutes."""
    media = tmp_path_factory.mktemp("media")
    for folder in [media, *media.parents]:  # the containers' user is another
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    for n in range(FILMS):
        film = media / "films" / f"Film number {n} ({1950 + n % 70})"
        film.mkdir(parents=True)
        (film / f"{film.name}.mkv").write_bytes(b"no film, but a file to look at" * (n % 9 + 1))
    (media / "shows").mkdir()
    (media / "films" / "Long").mkdir()
    make_long_film(find_ffmpeg(), media / "films" / "Long" / LONG)
    return media


@pytest.fixture(scope="session")
def stack(clone: Path, media: Path) -> Iterator[Containers]:
    """The stack with Jaeger, as the page brings both up."""
    made = Containers(clone, media)
    try:
        made.follow(block("operations.md", "docker compose -f deployments/observability"))
        wait_until(lambda: len(online(made)) == 3, timeout=60, what="three workers")
        made.runs += made.runs_of("metadata-scan/hourly")
        yield made
    finally:
        made.down("compose")
        made.down("observability/jaeger")


def online(stack: Containers) -> list[str]:
    workers = stack.api.client.read_workers_for_work_pool("haas-media")
    return [worker.name for worker in workers if worker.status == "ONLINE"]
