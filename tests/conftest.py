"""How tests are shared out to processes, and what a run says about those that it left out."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.chaos import CHAOS

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent

# A shell has its background jobs ignore SIGINT, and what they start; some here are to end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes start here, and need not compile the same modules each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What one process runs: files that share a server or a stack, or that a core has enough to do with.
# The lanes come first, as they take longest; any other file goes to whichever process is free.
LANES = {
    # Mostly waits: it has a process beside those that a core each has enough to do with.
    "waits": ["e2e/test_disputed", "e2e/test_left", "haas_otel"],
    "server": [
        "e2e/test_elsewhere",
        "e2e/test_encoding",
        "e2e/test_waiting",
        "e2e/test_why",
        "flows",
    ],
    "browser": ["browser", "deployments/test_demo"],
    "stack": ["deployments"],
    "machines": ["e2e/test_chaos", "e2e/test_machines"],
    "backends": ["observability"],
}

settings.register_profile(
    "haas",
    max_examples=2000 if CHAOS else 30,
    # Neither says anything but how busy the machine is.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("haas")


def _lane_of(file: str) -> str:
    """Return the lane of a file, whose name is relative to this folder."""
    lanes = (name for name, members in LANES.items() if file.startswith(tuple(members)))
    return next(lanes, file)


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes ``-n auto`` means.

    More of them make servers so slow that tests tell of the machine.
    """
    return min(8, 1 + (os.cpu_count() or 1))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Have each lane run by one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByLane(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _lane_of(nodeid.partition("::")[0].removeprefix(f"{HERE.name}/"))

    config.option.loadscopereorder = False
    return ByLane(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the lanes first."""
    order = {name: place for place, name in enumerate(LANES)}

    def place(item: pytest.Item) -> int:
        return order.get(_lane_of(item.path.relative_to(HERE).as_posix()), len(LANES))

    items.sort(key=place)


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
