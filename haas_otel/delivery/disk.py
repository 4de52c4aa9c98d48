"""The disk as the core sees it: which runs go on, which were killed, which spans are written."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from haas_otel import records
from haas_otel.delivery.codec import dump
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.journal import is_alive, locked
from haas_otel.delivery.segments import Segments, close_records, last_sign, open_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits
    from haas_otel.delivery.segments import Segment

_logger = logging.getLogger(__name__)
_ID_FILE = "machine-id"
_STAMP_SECONDS = 5.0


class SharedDisk:
    """What the processes that share ``directory`` have written down; see `haas_otel.records.Disk`.

    ``settle`` is called now and then, in a thread of its own, while a run of this process goes on:
    to settle what other processes left that died. ``exporters`` returns those that spans of
    this process go to, whoever ends them. Raises OSError when the directory cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        journal: Journal,
        settle: Callable[[], object] | None = None,
        exporters: Callable[[], tuple[str, ...] | None] = tuple,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._journal = journal
        self._settle = settle
        self._exporters = exporters
        self._pid = 0
        self._settling: threading.Thread | None = None
        # The id of the directory, wherever it is met again; it is made with it.
        self.machine = _read_or_make_id(directory)

    def begin(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a start record down, or a newer one with the same key. Never raises."""
        self._journal.start(key, dump({**record, "exporters": self._exporters()}))
        if self._pid != os.getpid():
            self._pid = os.getpid()
            with suppress(RuntimeError):  # the interpreter is ending
                threading.Thread(target=self._stamp, name="haas-otel-stamp", daemon=True).start()

    def end(self, key: str) -> None:
        """Note that a run has ended, and that its span, if it has one, is written."""
        self._journal.end(key)

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether a span is written down, by any process.

        Where the disk cannot be read the answer is no: rather ended again, and then left out as the
        copy it is when the disk is well, than never.
        """
        try:
            with closing(Index(self._directory, self._limits)) as index:
                index.read_all()
                return index.has(f"{trace_id:032x}", f"{span_id:016x}")
        except IndexUnusable as error:
            _logger.warning("%s cannot be read now: %s", self._directory, error)
            return False

    def close(self) -> None:
        """Let go of the journal: what has not ended is left by a process that died."""
        self._journal.close()

    def living(self) -> list[records.Process]:
        """Return the processes that live and have runs, this one among them."""
        return [
            self._process(owner_id, segments)
            for owner_id, segments in Segments(self._directory, self._journal).by_owner().items()
            if is_alive(self._directory, owner_id)
        ]

    def running(self) -> Counter[str]:
        """Return how many task runs go on, on this machine, by type."""
        runs = (record.run for process in self.living() for record in process.records)
        return Counter(str(run.attributes["task.type"]) for run in runs if run is not None)

    def dead(self) -> Iterator[records.Process]:
        """Yield processes that died with open runs, each for this caller alone until the next."""
        found = Segments(self._directory, self._journal)
        gone = [each for each in found.by_owner() if not is_alive(self._directory, each)]
        # Looked at once more: one may have begun another segment, and died, meanwhile.
        for owner_id, segments in found.by_owner().items():
            if owner_id not in gone or not open_records(segments):
                continue
            # The lock on its last segment is the claim on its runs.
            with suppress(FileNotFoundError), locked(segments[-1].path) as mine:
                if mine and open_records(segments):
                    yield from self._to_settle(owner_id, segments)

    def _to_settle(self, owner_id: str, segments: list[Segment]) -> Iterator[records.Process]:
        closed: set[str] = set()
        exporters = self._journal.exporters
        # Their spans go where their own process would have sent them.
        chosen = {key: content.get("exporters") for key, content in _contents(segments)}
        given = {key: tuple(names) for key, names in chosen.items() if names is not None}
        exporters.update(given)
        try:
            yield self._process(owner_id, segments, lambda record: closed.add(record.key))
        finally:
            for key in given:
                exporters.pop(key, None)
            if closed:
                close_records(segments, closed)

    def _process(self, owner_id: str, segments: list[Segment], *close: Any) -> records.Process:
        found = []
        for key, content in _contents(segments):
            try:
                found.append(records.read(key, content))
            except (KeyError, TypeError, ValueError):
                _logger.warning("a start record cannot be read: %s", key)
        sign = last_sign(self._directory, owner_id, segments)
        return records.Process(owner_id, sign, tuple(found), *close)

    def _stamp(self) -> None:
        """Give a sign of life for as long as the process lives, and have the dead settled."""
        while True:
            if self._journal.running:
                with suppress(OSError):
                    self._journal.stamp()
                self._tend()
            time.sleep(_STAMP_SECONDS)

    def _tend(self) -> None:
        # In another thread: the server may be slow, and a sign of life is not to wait for it.
        if self._settle is None or (self._settling is not None and self._settling.is_alive()):
            return
        self._settling = threading.Thread(target=self._settle, name="haas-otel-settle", daemon=True)
        with suppress(RuntimeError):
            self._settling.start()


def _contents(segments: list[Segment]) -> Iterator[tuple[str, Any]]:
    """Yield the open start records of a process, each with its key."""
    for key, text in open_records(segments).items():
        with suppress(ValueError):
            yield key, orjson.loads(text)


def _read_or_make_id(directory: Path) -> str:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _ID_FILE
    if not path.exists():
        # Written aside and linked, so that nobody reads half an id and the first one stays.
        draft = directory / f"{_ID_FILE}.{uuid4().hex}"
        draft.write_text(uuid4().hex)
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
