"""One real server and worker for all end-to-end tests, started when the first of them needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.api import Api
from tests.e2e.prefect_processes import PrefectProcesses, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parent / "project"
POOL = "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectProcesses]:
    processes = PrefectProcesses(tmp_path_factory.mktemp("prefect") / "home")
    try:
        processes.start_server()
        Api(processes.api_url).make_pool(POOL)
        processes.start_worker("worker", POOL)
        yield processes
    finally:
        processes.stop()


@pytest.fixture(scope="session")
def api(prefect: PrefectProcesses) -> Api:
    return Api(prefect.api_url)


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def worker_is_up(prefect: PrefectProcesses, api: Api) -> None:
    wait_until(lambda: "Worker 'worker' started" in prefect.log("worker"), timeout=60)
