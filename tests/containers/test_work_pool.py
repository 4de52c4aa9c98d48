"""A work pool that starts containers, by the commands of the page, on the server of the stack."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers.conftest import VERSION, Containers, block, command
from tests.deployments.conftest import Command
from tests.e2e.prefect_processes import end
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

pytestmark = pytest.mark.timeout(600)
POOL = "containers"


@pytest.fixture
def state(media: Path) -> Path:
    """The page's /srv/haas."""
    return media.parent / "haas"


@pytest.fixture
def pool(stack: Containers, state: Path, tmp_path: Path) -> Iterator[Containers]:
    """The pool with its worker; Prefect's part for Docker is installed aside, as it is not ours."""
    programs = Path(sys.executable).parent
    own = {"PREFECT_API_URL": stack.api_url, "PATH": f"{programs}:{os.environ['PATH']}"}
    page = block("operations.md", "sudo install -d -o 1000 /srv/haas")
    page = page.replace("/srv/haas", str(state)).replace(
        "haas-media:latest", f"haas-media:{VERSION}"
    )
    stack.follow(page, **own)
    aside = tmp_path / "prefect-docker"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(aside)]
    command(*pip, "prefect-docker", "docker", cwd=tmp_path)
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [programs / "prefect", "worker", "start", "--pool", POOL, "--type", "docker"],
            env=stack.environment | own | {"PYTHONPATH": str(aside)},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        try:
            yield stack
        finally:
            end(worker)  # Prefect's own, which may wait for what is gone
            left = command("docker", "ps", "-aq", "--filter", f"ancestor=haas-media:{VERSION}")
            command("docker", "rm", "--force", *left.split())


def container_of(stack: Containers, run: object) -> str:
    def infrastructure() -> str | None:
        return stack.api.flow_run(run).infrastructure_pid  # type: ignore[arg-type]

    return str(wait_until(infrastructure, timeout=60)).rpartition(":")[2]


def test_spans_outlive_their_containers(pool: Containers, state: Path, tmp_path: Path) -> None:
    scan = pool.start("metadata-scan/hourly")
    with ThreadPoolExecutor() as threads:  # each container takes long to begin
        names = ("Stopped", "By a person", "Killed in a container")
        stopped, cancelled, killed = threads.map(pool.encode, names)
    command("docker", "kill", container_of(pool, killed))
    pool.api.cancel(cancelled)
    command("docker", "stop", "--time", "60", container_of(pool, stopped))
    pool.wait_for(scan, "Completed")
    pool.wait_for(killed, "Crashed")
    pool.wait_for(cancelled, "Cancelled")
    pool.wait_for(stopped, "Cancelled")
    repeated = pool.repetition(stopped)
    pool.wait_for(repeated, "Running")
    pool.api.cancel(repeated)
    wanted = {scan: "Completed", stopped: "Cancelled", cancelled: "Cancelled", killed: "Failed"}
    environment = {"HAAS_DATA_DIR": str(state), "PREFECT_API_URL": pool.api_url}
    haas = Command({**os.environ, "HAAS_CONFIG": os.devnull, **environment}, tmp_path)
    for run, status in wanted.items():
        (line,) = wait_until(lambda run=run: lines(haas, run), timeout=60, interval=2)
        assert f" {status} " in line


def lines(haas: Command, run: UUID) -> list[str]:
    return [line for line in haas("traces").out.splitlines() if run.hex in line]
