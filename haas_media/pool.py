"""A few threads for waiting work, which never hold up a process that has to end."""

from __future__ import annotations

import contextvars
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")


def map_unordered(
    work: Callable[[T], R], items: Iterable[T], threads: int
) -> Iterator[tuple[T, R | Exception]]:
    """Call ``work`` for each item in some threads; yield results as they come.

    An exception of ``work`` is yielded in place of its result. Each call sees the caller's context
    variables. When the caller stops early, or is interrupted, no further item is begun and nothing
    is waited for: the threads are daemons (those of ``concurrent.futures`` would hold up the end
    of the process).

    Args:
        work: what to do with an item, in some thread.
        items: taken one by one as threads become free.
        threads: how many at once.
    """
    todo: queue.SimpleQueue[tuple[T, contextvars.Context] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[T, R | Exception]] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        while (task := todo.get()) is not None and not stop.is_set():
            item, context = task
            try:
                done.put((item, context.run(work, item)))
            except Exception as error:  # noqa: BLE001 - handed to the caller
                done.put((item, error))

    started = 0
    pending = 0
    try:
        for item in items:
            if started < threads:
                threading.Thread(target=run, name=f"haas-scan-{started}", daemon=True).start()
                started += 1
            todo.put((item, contextvars.copy_context()))
            pending += 1
            if pending >= 2 * threads:
                yield done.get()
                pending -= 1
        for _ in range(pending):
            yield done.get()
    finally:
        stop.set()
        for _ in range(started):
            todo.put(None)
