"""Waiting for what a test is about, in place of sleeping."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds for what never comes: on a busy machine the start of one run takes most of a minute.
PATIENCE = 240


def wait_until(
    predicate: Callable[[], Any],
    *,
    timeout: float = PATIENCE,
    interval: float = 0.1,
    what: str = "",
) -> Any:
    """Return the predicate's first true value; fail after ``timeout`` seconds.

    It is asked less often where it takes long, as most ask a server: others use the machine, too.
    """
    asked = time.monotonic()
    deadline = asked + timeout
    while not (value := predicate()):
        answered = time.monotonic()
        if answered > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what or predicate}")
        time.sleep(max(interval, min(10 * (answered - asked), 2.0)))
        asked = time.monotonic()
    return value
