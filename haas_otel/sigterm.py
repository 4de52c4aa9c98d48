"""SIGTERM to a process that runs tasks and no flow, as a task worker does.

Prefect interrupts none of them: ``serve()`` is gone at once, ``prefect task serve`` waits for as
long as the bodies in its threads take. Here each body is interrupted and its run ends as Cancelled;
then the process dies of the signal.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from ctypes import CDLL
from functools import partial
from typing import TYPE_CHECKING

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED

from haas_otel import _prefect, hooks, span

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from haas_otel.span import LiveSpan

    Handler = Callable[[int, FrameType | None], object]

GRACE = 5.0  # seconds for bodies to unwind: a container has 10
_EVERY = 0.05
_stopping = threading.Event()


def listen() -> None:
    """Have SIGTERM interrupt task runs without a flow, unless the application has plans with it."""
    _prefect.before_a_task_workers_own(handle)
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, handle)


def handle(number: int, frame: FrameType | None, otherwise: Handler | None = None) -> None:
    """Interrupt what runs without a flow; if nothing does, do what would have been done."""
    if not _stopping.is_set() and span.without_flow():
        _stopping.set()
        # Not here: this may be the thread of the event loop in which bodies have to unwind.
        threading.Thread(target=_stop, args=(number,), name="haas-otel-stop").start()
    elif otherwise is not None and not _stopping.is_set():
        otherwise(number, frame)
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _stop(number: int) -> None:
    with span.never_failing():
        of_flows = any(running.task_run.flow_run_id for running in span.without_flow())
        if of_flows and PREFECT_LOGGING_TO_API_ENABLED.value():
            # Made by the first line of a log, under a lock for which that of Prefect's loop waits.
            _in_time(APILogWorker.instance)
        deadline = time.monotonic() + GRACE
        under_way: dict[int, LiveSpan] = {}
        interrupted: set[int] = set()
        while time.monotonic() < deadline:
            under_way |= {id(running): running for running in span.without_flow()}
            for key in under_way.keys() - interrupted:
                if (interrupt := under_way[key].interrupt) is not None:
                    interrupted.add(key)
                    under_way[key].ended_by = "system"
                    interrupt()
            if all(map(_has_its_last_state, under_way.values())):
                break
            time.sleep(_EVERY)
        left = [each for each in under_way.values() if not _has_its_last_state(each)]
        _in_time(*(partial(hooks.end_interrupted, each) for each in left))  # in a call, and so deaf
        # The server gets the runs' states from there.
        _in_time(partial(EventsWorker.drain_all, timeout=GRACE))
        # What is queued is sent: the signal would not let it.
        _in_time(atexit._run_exitfuncs)
    # Python lets only its main thread say so, which may hear no signal any more.
    CDLL(None).signal(number, 0)  # SIG_DFL
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # a container's first process, which the kernel spares


def _in_time(*calls: Callable[[], object]) -> None:
    """Make calls side by side, and leave those that hang."""

    def make(call: Callable[[], object]) -> None:
        with span.never_failing():
            call()

    threads = [threading.Thread(target=make, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + GRACE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _has_its_last_state(running: LiveSpan) -> bool:
    state = running.task_run.state
    return state is not None and state.is_final()
