"""The disk as the core's ledger: what is written down on this machine is told."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING
from uuid import uuid4

from haas_otel.delivery.adoption import adopt
from haas_otel.delivery.outbox import Outbox, OutboxUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_ID_FILE = "ledger-id"


class DiskLedger:
    """What the processes that share ``directory`` have written down.

    ``id`` names the directory wherever it is met again; it is made with it. Raises OSError when
    the directory cannot be used.
    """

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self.id = _read_or_make_id(directory)

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether a span is written down, by a process that is gone or long ago by one alive.

        Where the disk cannot be read the answer is no: rather told again, and then dropped as the
        copy it is when the disk is well, than never told.
        """

        def look(outbox: Outbox) -> bool:
            adopt(self._directory, outbox)
            return outbox.has(f"{trace_id:032x}", f"{span_id:016x}")

        return self._ask(look, unknown=False)

    def remembers(self, moment_ns: int) -> bool:
        """Say whether all is still known that was written down of task runs ended since then.

        Spans are kept for some time and up to a number only.
        """
        return self._ask(lambda outbox: outbox.remembers(moment_ns), unknown=True)

    def _ask(self, question: Callable[[Outbox], bool], *, unknown: bool) -> bool:
        outbox = Outbox(self._directory, self._limits)
        try:
            return question(outbox)
        except (OutboxUnusable, OSError):
            _logger.warning("%s cannot be read now", self._directory, exc_info=True)
            return unknown
        finally:
            outbox.close()


def _read_or_make_id(directory: Path) -> str:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _ID_FILE
    if not path.exists():
        # Written aside and linked, so that nobody reads half an id and the first one stays.
        draft = directory / f"{_ID_FILE}.{uuid4().hex}"
        draft.write_text(uuid4().hex)
        try:
            os.link(draft, path)
        except FileExistsError:
            _logger.debug("another process named the ledger first")
        finally:
            draft.unlink()
    return path.read_text().strip()
