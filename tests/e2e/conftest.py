"""One real server and worker for all end-to-end tests, started when the first of them needs it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.api import Api
from tests.e2e.delivery import Collector, collecting
from tests.e2e.prefect_processes import PrefectProcesses
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell has its background jobs ignore SIGINT, and what they start; Prefect's workers end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).parent / "project"
POOL = "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectProcesses]:
    with PrefectProcesses.shared(tmp_path_factory) as processes:
        yield processes


@pytest.fixture(scope="session")
def api(prefect: PrefectProcesses) -> Api:
    """The API of the server, which has a worker that serves POOL."""
    api = Api(prefect.api_url)
    if "worker" not in prefect.workers:
        api.make_pool(POOL)
        prefect.start_worker("worker", POOL)
    wait_until(lambda: "Worker 'worker' started" in prefect.log("worker"), timeout=120)
    return api


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with collecting(tmp_path_factory.mktemp("collector")) as made:
        yield made
