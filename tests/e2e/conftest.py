"""One real server and worker for all end-to-end tests, started when the first of them needs it."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.api import Api
from tests.e2e.delivery import Collector, collecting
from tests.e2e.prefect_processes import PrefectProcesses
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.site import Site

ROOT = Path(__file__).parents[2]
POOL = "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="package")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectProcesses]:
    with PrefectProcesses.shared(tmp_path_factory) as processes:
        yield processes


@pytest.fixture(scope="package")
def api(prefect: PrefectProcesses) -> Api:
    """The API of the server, which has a worker that serves POOL."""
    api = Api(prefect.api_url)
    if "worker" not in prefect.workers:
        api.make_pool(POOL)
        prefect.start_worker("worker", POOL)
    wait_until(lambda: "Worker 'worker' started" in prefect.log("worker"))
    return api


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has haas-otel's wheel, what that asks for, and no more.

    In the versions of the environment that the tests run in.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, *build, str(ROOT / "haas_otel")], check=True, cwd=folder)
    (wheel,) = folder.glob("haas_otel-*.whl")
    venv.create(folder / "env")
    here = {each.name: each.version for each in distributions()}
    (folder / "pins.txt").write_text("\n".join(map("==".join, here.items())))
    # Python compiles what is imported, which is less than all.
    options = ["-q", "--no-compile", "-c", "pins.txt"]
    done = subprocess.run(
        [*pip, "--python", str(folder / "env"), "install", *options, wheel.name],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if "No matching distribution" in done.stderr and "Failed to establish" in done.stderr:
        pytest.skip("an environment of haas-otel alone needs a package index")
    assert done.returncode == 0, done.stderr
    return folder / "env"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with collecting(tmp_path_factory.mktemp("collector")) as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Machines on which runs are left behind, or stopped, and settled with the default silence."""
    from tests.e2e.site import site

    with site(tmp_path_factory.mktemp("site"), silence=900) as made:
        yield made
