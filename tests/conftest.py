"""How the tests are shared out where several processes run them."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Tests of these share a server, or a stack, that takes some seconds to start.
SHARING = ("browser", "deployments", "flows", "e2e")
# These have servers of their own, and take minutes.
APART = ("e2e/test_chaos.py", "e2e/test_machines.py")


def pytest_itemcollected(item: pytest.Item) -> None:
    # Once all are collected, xdist has looked at the groups already.
    item.add_marker(pytest.mark.xdist_group(group_of(item.path.relative_to(TESTS))))


def group_of(path: Path) -> str:
    """Say which tests run in the same process, one after the other."""
    together = path.parts[0] in SHARING and path.as_posix() not in APART
    return path.parts[0] if together else path.as_posix()
