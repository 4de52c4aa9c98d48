"""Who ended a run: beside the contract's status, so that killed and failed can be told apart."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from math import inf
from typing import TYPE_CHECKING, Literal

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Abort, Pause, TerminationSignal

from haas_otel import _prefect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.schemas.objects import State

By = Literal["user", "system", "crash", "timeout", "self"]
# What stops a task from outside. Anything else that is raised, SystemExit too, is its own failure.
INTERRUPTIONS = (KeyboardInterrupt, TerminationSignal, asyncio.CancelledError, Pause, Abort)
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
    return "timeout" if name and name.endswith("RunTimeoutError") else "self"


def by_interruption(exception: BaseException | None) -> By | None:
    """Return who stops a run of this process; None where Prefect knows: it was asked for there."""
    if _what_is_around_took_too_long():
        return "timeout"
    if _prefect.is_cancelled_by_its_runner():
        return None
    # A coroutine hears of a signal by a CancelledError, made while that is handled; a thread, by
    # one of its own.
    heard = _context_of(exception) + _context_of(_handled_by_the_main_thread())
    # Prefect has one of its own for what it stops, as a run whose lease it has lost.
    stops = (TerminationSignal, asyncio.CancelledError)
    if any(isinstance(e, stops) and type(e) is not asyncio.CancelledError for e in heard):
        return "system"
    if any(isinstance(each, KeyboardInterrupt) for each in heard) or _is_interrupted():
        return "user"
    return "self"


def interruption_in(exception: BaseException | None) -> BaseException | None:
    """Return what stops a task of what it raises: itself, or one in a group; None if nothing."""
    if isinstance(exception, BaseExceptionGroup):
        return next(filter(None, map(interruption_in, exception.exceptions)), None)
    return exception if isinstance(exception, INTERRUPTIONS) else None


def _context_of(exception: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exception is not None and all(exception is not each for each in found):
        found.append(exception)
        exception = exception.__context__
    return found


def _handled_by_the_main_thread() -> BaseException | None:
    found = sys._current_exceptions().get(threading.main_thread().ident or 0)
    return found[1] if isinstance(found, tuple) else found  # a tuple before Python 3.12


def _is_interrupted() -> bool:
    """Say whether asyncio has cancelled its main task for a Ctrl-C, which it only counts."""
    runner = getattr(getattr(signal.getsignal(signal.SIGINT), "func", None), "__self__", None)
    return isinstance(runner, asyncio.Runner) and getattr(runner, "_interrupt_count", 0) > 0


def _what_is_around_took_too_long() -> bool:
    flows = [(each.flow, each.start_time) for each in _prefect.contexts(FlowRunContext)]
    # Of each task run the attempt that goes on; its own is none that it is stopped by.
    attempts = {each.task_run.id: each for each in reversed([*_prefect.contexts(TaskRunContext)])}
    tasks = [(each.task, each.start_time) for each in [*attempts.values()][:-1]]
    now = time.time()
    return any(
        run and now - start.timestamp() >= (run.timeout_seconds or inf)
        for run, start in [*flows, *tasks]
    )
