"""How tests are shared out to processes, and what a run says about those that it left out."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

HERE = Path(__file__).parent

# Tests wait for servers, workers and signals more than they compute.
PROCESSES_PER_CORE = 2

# What is run by one process, in this order: files that share a server or a stack. They come first,
# as they take longest; every other file goes to whichever process is free.
LANES = {
    "server": [
        "e2e/test_endings.py",
        "e2e/test_other_ways.py",
        "e2e/test_encoding.py",
        "e2e/test_elsewhere.py",
        "flows",
    ],
    "stack": [
        "deployments/test_stack.py",
        "deployments/test_deployed.py",
        "deployments/test_traces.py",
        "deployments/test_check.py",
        "deployments/test_check_operations.py",
        "deployments/test_cli.py",
    ],
    "browser": ["browser"],
    "chaos": ["e2e/test_chaos.py"],
    "machines": ["e2e/test_machines.py"],
    "demo": ["deployments/test_demo.py"],
}


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes ``-n auto`` means."""
    return min(8, PROCESSES_PER_CORE * (os.cpu_count() or 1))


def _lane_of(path: Path) -> tuple[int, str]:
    """Return the place in the order and the name of the lane to which a file belongs."""
    file = path.relative_to(HERE).as_posix()
    for place, (name, members) in enumerate(LANES.items()):
        if any(file == member or file.startswith(f"{member}/") for member in members):
            return place, name
    return len(LANES), file


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its lane, and put the lanes first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_lane_of(item.path)[1]))
    items.sort(key=lambda item: _lane_of(item.path)[0])


def _left_out(reporter: TerminalReporter) -> Counter[str]:
    reasons = (report.longrepr[2] for report in reporter.stats.get("skipped", []))
    return Counter(reason.removeprefix("Skipped: ") for reason in reasons)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say what was left out, and why."""
    if left_out := _left_out(terminalreporter):
        terminalreporter.section("left out")
        for reason, count in sorted(left_out.items()):
            terminalreporter.line(f"{count} test{'s' * (count > 1)}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing may be left out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter and _left_out(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
