"""The instant in which a task's work is done, after which an interruption comes too late.

A run that is stopped after its output has taken the place of another is not Cancelled: nothing is
as it was before. So its task ends as what it is, Completed, and its flow is interrupted then.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_INTERRUPTING = (signal.SIGTERM, signal.SIGINT)
_ahead: ContextVar["_HeldBack | None"] = ContextVar("point_of_no_return", default=None)


@contextmanager
def point_of_no_return() -> Iterator[None]:
    """Let the task that is called in the block pass a point after which it is not interrupted.

    Signals that come between that point and the end of the block are handed on at its end. Put it
    around the call of the task, because Prefect keeps the task's own end within that call.
    """
    held_back = _HeldBack()
    token = _ahead.set(held_back)
    try:
        yield
    finally:
        _ahead.reset(token)
        held_back.hand_on()


def pass_point_of_no_return() -> None:
    """Say that what the task does cannot be undone from now on."""
    if held_back := _ahead.get():
        held_back.begin()


class _HeldBack:
    """Signals that wait. They interrupt the main thread only: in another there are none."""

    def __init__(self) -> None:
        found = {number: signal.getsignal(number) for number in _INTERRUPTING}
        # One that was not set from Python could not be set again.
        self._handlers = {number: handler for number, handler in found.items() if handler}
        self._came: list[int] = []
        self._begun = False

    def begin(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._begun = True
            for number in self._handlers:
                signal.signal(number, self._hold)

    def hand_on(self) -> None:
        if self._begun:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        for came in self._came:
            signal.raise_signal(came)

    def _hold(self, number: int, _frame: FrameType | None) -> None:
        self._came.append(number)
