"""How many task runs go on, on this machine: each process notes its own number."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from haas_otel.delivery.owner import is_alive, lock_of, owners
from haas_otel.span import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from haas_otel.delivery.journal import Journal

_logger = logging.getLogger(__name__)


class ActiveTasks(SpanProcessor):
    """Counts the task spans that have started and not ended, by ``task.type``.

    Args:
        directory: the folder that this machine's processes share.
        journal: this process's, whose lock file shows others the number.
        wake: called when a task span starts, to have the new number sent.
    """

    def __init__(
        self, directory: Path, journal: Journal, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._directory = directory
        self._journal = journal
        self.wake = wake
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._own: Counter[str] = Counter()
        self._written: dict[str, int] = {}
        self._seen: set[str] = set()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Count a task span that starts. Never raises, never waits."""
        if self._count(span, 1):
            try:
                self.wake()
            except Exception:
                _logger.exception("active tasks are not sent")

    def on_end(self, span: ReadableSpan) -> None:
        """Count a task span that ends, before it is handed on to be delivered."""
        self._count(span, -1)

    def everywhere(self) -> dict[str, int]:
        """Note this process's own number, and return the machine's, by ``task.type``.

        Types that went on when this was last asked are there with 0. Without a disk it is this
        process's own number.
        """
        with self._lock:
            own = dict(self._own)
        total = Counter(own)
        try:
            self._write({kind: count for kind, count in own.items() if count > 0})
            total.update(self._others())
        except OSError as error:
            _logger.debug("active tasks of other processes are not known: %s", error)
        self._seen |= set(total)
        return {kind: max(0, total[kind]) for kind in sorted(self._seen)}

    def _count(self, span: ReadableSpan, step: int) -> bool:
        scope, attributes = span.instrumentation_scope, span.attributes or {}
        kind = attributes.get("task.type") if scope is not None and scope.name == SCOPE else None
        if kind is None:
            return False
        if os.getpid() != self._pid:  # a forked child runs none of its parent's tasks
            self._begin()
        with self._lock:
            # A span that a child ends though its parent started it is none of the child's.
            self._own[str(kind)] = max(0, self._own[str(kind)] + step)
        return True

    def _write(self, own: dict[str, int]) -> None:
        if own != self._written:
            self._journal.note(json.dumps(own).encode())
            self._written = own

    def _others(self) -> Counter[str]:
        total: Counter[str] = Counter()
        mine = self._journal.owner_id
        for owner_id in owners(self._directory):
            if owner_id != mine and is_alive(self._directory, owner_id):
                # Gone or not JSON: its process has just ended, or has noted nothing yet.
                with contextlib.suppress(OSError, ValueError):
                    total.update(json.loads(lock_of(self._directory, owner_id).read_text()))
        return total
