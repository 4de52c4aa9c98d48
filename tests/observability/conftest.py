"""What the tests of backends share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.observability.real_runs import RealRuns, make_real_runs

if TYPE_CHECKING:
    from collections.abc import Iterable


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def unpacked(pytestconfig: pytest.Config) -> Path:
    """Where programs are kept that come packed, for later runs of the tests, too."""
    return pytestconfig.cache.mkdir("backends")


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> RealRuns:
    """Six runs of the deployments, one of each ending."""
    return make_real_runs(tmp_path_factory.mktemp("real-runs"))
