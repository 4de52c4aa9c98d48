"""The disk as the core sees it: which runs go on, which were killed, which spans are written."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import closing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from haas_otel import records
from haas_otel.delivery.codec import dump
from haas_otel.delivery.index import Index, IndexUnusable
from haas_otel.delivery.owner import claimed, is_alive, owners
from haas_otel.delivery.queue import close_records, last_sign, open_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from haas_otel.delivery.journal import Journal
    from haas_otel.delivery.limits import Limits

_logger = logging.getLogger(__name__)
_ID_FILE, _ID_FILE_BEFORE = "machine-id", "ledger-id"
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
        _ = self.machine

    @cached_property
    def machine(self) -> str:
        """The id of the directory, wherever it is met again; it is made with it."""
        return _read_or_make_id(self._directory)

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
            self._process(owner_id)
            for owner_id in owners(self._directory)
            if is_alive(self._directory, owner_id)
        ]

    def dead(self) -> Iterator[records.Process]:
        """Yield processes that died with open runs, each for this caller alone until the next."""
        for owner_id in owners(self._directory):
            if is_alive(self._directory, owner_id) or not open_records(self._directory, owner_id):
                continue
            with claimed(self._directory, owner_id) as mine:
                if not mine:
                    continue
                closed: set[str] = set()
                chosen = {
                    key: tuple(content["exporters"])
                    for key, content in _contents(self._directory, owner_id).items()
                    if content.get("exporters") is not None
                }
                # They go where their own process would have sent them.
                self._journal.exporters.update(chosen)
                try:
                    yield self._process(owner_id, _collecting(closed))
                finally:
                    for key in chosen:
                        self._journal.exporters.pop(key, None)
                    if closed:
                        close_records(self._directory, owner_id, closed)

    def _process(
        self, owner_id: str, close: Callable[[records.Record], None] = lambda _: None
    ) -> records.Process:
        found = []
        for key, content in _contents(self._directory, owner_id).items():
            try:
                found.append(records.read(key, content))
            except (KeyError, TypeError, ValueError):
                _logger.warning("a start record cannot be read: %s", key)
        return records.Process(owner_id, last_sign(self._directory, owner_id), tuple(found), close)

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


def _contents(directory: Path, owner_id: str) -> dict[str, Any]:
    """Return the open start records of a process, by key."""
    contents = {}
    for key, text in open_records(directory, owner_id).items():
        with suppress(ValueError):
            contents[key] = json.loads(text)
    return contents


def _read_or_make_id(directory: Path) -> str:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _ID_FILE
    with suppress(FileNotFoundError):
        (directory / _ID_FILE_BEFORE).rename(path)
    if not path.exists():
        # Written aside and linked, so that nobody reads half an id and the first one stays.
        draft = directory / f"{_ID_FILE}.{uuid4().hex}"
        draft.write_text(uuid4().hex)
        try:
            os.link(draft, path)
        except FileExistsError:
            _logger.debug("another process named the machine first")
        finally:
            draft.unlink()
    return path.read_text().strip()


def _collecting(keys: set[str]) -> Callable[[records.Record], None]:
    return lambda record: keys.add(record.key)
