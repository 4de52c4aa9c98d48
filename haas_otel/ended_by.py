"""Who ended a run: beside the contract's status, so that killed and failed can be told apart."""

from __future__ import annotations

import time
from math import inf
from os import environ
from typing import TYPE_CHECKING, Literal

from prefect.exceptions import Abort, Pause, TerminationSignal

from haas_otel import _prefect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.schemas.objects import State

By = Literal["user", "system", "crash", "timeout", "self"]
# In what a worker of ours, or a container, says when the system stops it.
_BY_SYSTEM = "by the system"


def by_message(message: str | None) -> By:
    """Return who asked for a cancellation, by what was said with it."""
    return "system" if _BY_SYSTEM in (message or "") else "user"


def by_states(states: Iterable[State]) -> By:
    """Return who ended a flow run, by its final attempt's history."""
    by: By = "self"
    for state in sorted(states, key=lambda each: each.timestamp):
        if state.is_running():
            by = "self"
        elif state.is_cancelling() or state.is_cancelled():
            by = "system" if by == "system" else by_message(state.message)
        elif state.is_crashed():
            by = "crash"
        elif state.name == "TimedOut":
            by = "timeout"
    return by


def by_exception(name: str | None) -> By:
    """Return who ended a run that was not cancelled, by the type of its exception."""
    if name == "prefect.exceptions.CrashedRun":
        return "crash"
    return "timeout" if name and name.endswith("RunTimeoutError") else "self"


def by_interruption(exception: BaseException | None) -> By | None:
    """Return who stops a run of this process; None where Prefect knows: it was asked for there."""
    if _flow_took_too_long():
        return "timeout"
    if _prefect.is_cancelled_by_its_runner():
        return None
    if isinstance(exception, Pause | Abort):
        return "self"
    if isinstance(exception, TerminationSignal):
        return "system"
    # Ctrl-C in a terminal. A coroutine hears of either signal by a CancelledError.
    is_terminal = isinstance(exception, KeyboardInterrupt) or _prefect.OWN_FLOW_RUN not in environ
    return "user" if is_terminal else "system"


def _flow_took_too_long() -> bool:
    now = time.time()
    return any(
        found.flow and now - found.start_time.timestamp() >= (found.flow.timeout_seconds or inf)
        for found in _prefect.flow_contexts()
    )
