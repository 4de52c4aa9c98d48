"""What the tests of backends share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
