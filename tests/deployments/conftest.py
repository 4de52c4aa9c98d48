"""One real stack for all tests of this room, and a clean environment for commands."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployments.process import wait_until
from deployments.samples import SampleLibrary, make_samples
from deployments.stack import Stack
from deployments.work_pool import deployments_of
from haas_media.encoding import find_ffmpeg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent.parent
FOREIGN = ("HAAS_", "PREFECT_", "OTEL_")


def clean_environment(home: Path) -> dict[str, str]:
    """Return this process's environment without any setting of ours, Prefect's, OpenTelemetry's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PREFECT_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleLibrary:
    return make_samples(tmp_path_factory.mktemp("samples"), find_ffmpeg())


@dataclass(frozen=True)
class Command:
    """Runs ``haas`` as a user does: a process of its own."""

    environment: dict[str, str]
    cwd: Path
    prefix: tuple[str, ...] = ()

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Finished:
        finished = subprocess.run(
            [*self.prefix, sys.executable, "-m", "deployments.cli", *arguments],
            input=stdin,
            capture_output=True,
            cwd=self.cwd,
            env=self.environment | dict(environment or {}),
            timeout=120,
            check=False,
        )
        return Finished(
            finished.returncode,
            finished.stdout.decode(errors="surrogateescape"),
            finished.stderr.decode(errors="surrogateescape"),
        )


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


@pytest.fixture
def haas(tmp_path: Path) -> Command:
    environment = clean_environment(tmp_path / "prefect")
    environment |= {"HAAS_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return Command(environment, tmp_path)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, samples: SampleLibrary) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    config = home / "haas.toml"
    config.write_text(
        f'[[libraries]]\ntitle = "Films"\nkind = "movies"\npath = "{samples.films}"\n'
        f'[[libraries]]\ntitle = "Shows"\nkind = "tv"\npath = "{samples.shows}"\n'
    )
    with Stack(
        home / "data",
        port=0,
        environment=clean_environment(home / "prefect"),
        worker_environment={"HAAS_CONFIG": str(config)},
    ) as running:
        running.start()
        assert wait_until(lambda: not idle(running), 60)
        yield running


def idle(stack: Stack) -> list[str]:
    """Return the deployments that no worker has asked for since they were made."""
    with stack.client() as client:
        found = deployments_of(client, stack.work_pool)
    return [name for name, each in found.items() if each.status != "READY"]
