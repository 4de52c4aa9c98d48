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
from haas_otel.delivery.segments import Segment, Segments, append, is_alive, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from haas_otel.delivery.segments import Journal

_logger = logging.getLogger(__name__)
_ID_FILE = "machine-id"
_STAMP_SECONDS = 5.0


class SharedDisk:
    """What the processes that share a directory have written down; see `haas_otel.records.Disk`.

    ``journal`` is what this process writes to, in that directory.
    ``settle`` is called now and then, in a thread of its own, while a run of this process goes on:
    to settle what other processes left that died; ``begun`` when one begins. Raises OSError when
    the directory cannot be used.
    """

    def __init__(
        self,
        journal: Journal,
        settle: Callable[[], object] = lambda: None,
        begun: Callable[[], object] = lambda: None,
    ) -> None:
        self._journal = journal
        self._settle, self._begun = settle, begun
        self._pid = 0
        self._settling: threading.Thread | None = None
        self._lock = threading.Lock()  # of the segments
        self._segments = Segments(journal)
        # The id of the directory, wherever it is met again; it is made with it.
        self.machine = _read_or_make_id(journal.directory)

    def begin(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a start record down, or a newer one with the same key. Never raises."""
        self._journal.start(key, dump(record))
        self._begun()
        if self._pid != os.getpid():
            if self._pid:  # in a forked child, where nobody gives the parent's lock back
                self._lock = threading.Lock()
            with suppress(RuntimeError):  # the interpreter is ending, or there are too many threads
                threading.Thread(target=self._stamp, name="haas-otel-stamp", daemon=True).start()
                self._pid = os.getpid()

    def end(self, key: str) -> None:
        """Note that a run has ended, and that its span, if it has one, is written."""
        self._journal.end(key)

    def has(self, trace_id: int, span_id: int) -> bool:
        """Say whether a span is written down, by any process.

        Where the disk cannot be read the answer is no: rather ended again, and then left out as the
        copy it is when the disk is well, than never.
        """
        try:
            with closing(Index(self._journal.directory)) as index:
                index.read_all()
                return index.has(trace_id, span_id)
        except IndexUnusable as error:
            _logger.warning("%s cannot be read now: %s", self._journal.directory, error)
            return False

    def living(self) -> list[records.Record]:
        """Return what the processes that live have open, this one among them."""
        return self._records(alive=True)

    def lost(self) -> list[records.Record]:
        """Return what processes that died have left open, to be looked at alone.

        Unlike by `dead`, it is found while another process settles it, too.
        """
        return self._records(alive=False)

    def running(self) -> Counter[str]:
        """Return how many task runs go on, on this machine, by type."""
        runs = (record.run for record in self.living())
        return Counter(str(run.attributes["task.type"]) for run in runs if run is not None)

    def dead(self) -> Iterator[records.Process]:
        """Yield processes that died with open runs, each for this caller alone until the next."""
        for path, _ in self._open():
            if not is_alive(path):
                with suppress(FileNotFoundError), locked(path) as mine:
                    # Read again: another may have settled it meanwhile.
                    if mine and (segment := Segment(path).read()).starts:
                        yield from self._to_settle(segment)

    def _records(self, *, alive: bool) -> list[records.Record]:
        found = (starts for path, starts in self._open() if is_alive(path) is alive)
        return [record for starts in found for record in _read(starts)]

    def _open(self) -> list[tuple[Path, dict[str, bytes]]]:
        """Return the open start records, by segment and key."""
        with self._lock:
            found = [(each.path, each.read().starts) for each in self._segments.there()]
            return [(path, dict(starts)) for path, starts in found if starts]

    def _to_settle(self, segment: Segment) -> Iterator[records.Process]:
        # Each at once: the process may end before it has looked at all.
        def close(record: records.Record) -> None:
            append(segment.path, b"<%b" % record.key.encode())

        def leave_hooks(record: records.Record) -> None:
            if not record.told:
                content = orjson.loads(segment.starts[record.key]) | {"told": True}
                append(segment.path, b">%b\t%b" % (record.key.encode(), dump(content)))

        last_sign, found = segment.path.stat().st_mtime_ns, _read(segment.starts)
        # Their spans go where their own process would have sent them.
        if segment.names is not None:
            self._journal.names_of |= dict.fromkeys(segment.starts, segment.names)
        try:
            yield records.Process(last_sign, found, close, leave_hooks)
        finally:
            for key in segment.starts:
                self._journal.names_of.pop(key, None)

    def _stamp(self) -> None:
        """Give a sign of life for as long as the process lives, and have the dead settled."""
        while True:
            if self._journal.running:
                with suppress(OSError):
                    self._journal.stamp()
                # In another thread: the server may be slow, and a sign of life is not to wait.
                if self._settling is None or not self._settling.is_alive():
                    self._settling = threading.Thread(
                        target=self._settle, name="haas-otel-settle", daemon=True
                    )
                    with suppress(RuntimeError):
                        self._settling.start()
            time.sleep(_STAMP_SECONDS)


def _read(starts: dict[str, bytes]) -> list[records.Record]:
    found = []
    for key, text in starts.items():
        try:
            found.append(records.read(key, orjson.loads(text)))
        except (AttributeError, KeyError, TypeError, ValueError):
            _logger.warning("a start record cannot be read: %s", key)
    return found


def _read_or_make_id(directory: Path) -> str:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _ID_FILE
    if not (path.exists() and path.read_text().strip()):
        path.unlink(missing_ok=True)  # a power cut may leave an empty one
        # Written aside and linked, so that nobody reads half an id and the first one stays.
        draft = directory / f"{_ID_FILE}.{uuid4().hex}"
        try:
            draft.write_text(uuid4().hex)
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:  # a full disk takes the file, and not the id
            draft.unlink(missing_ok=True)
    return path.read_text().strip()
