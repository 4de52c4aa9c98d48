"""One scan of a library at a time, whatever anybody's record of runs says.

The lock dies with its process: beside SQLite it is the kernel's lock of a file, on PostgreSQL an
advisory lock of a connection that is kept open for it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError

from haas_media.catalog import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from haas_media.catalog.opening import Catalog

_POLL_SECONDS = 0.5
# Advisory locks of PostgreSQL have two numbers; with this first one they are of libraries.
_LIBRARIES = 0x4841_414C
_LONGEST_NAME = 63  # bytes of an application's name
# The server asks so often whether a machine that holds locks is there: by itself after two hours.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_SET = text("SELECT set_config(:setting, :value, false)")
_HOLDER = text("""
    SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = :kind AND l.objid = :id
        AND a.datname = current_database()""")


@contextmanager
def scanning(
    catalog: Catalog,
    libraries: Mapping[int, str],
    holder: str,
    on_wait: Callable[[str], None],
) -> Iterator[None]:
    """Hold libraries for a scan; wait for whoever scans one of them.

    Args:
        libraries: their ids, with what they are called.
        holder: what this scan is called, for those who wait for it.
        on_wait: called with what is waited for, each time that this is something else.

    Raises:
        CatalogError: they cannot be held, as the catalog's folder is not to be written.
    """
    with ExitStack() as stack:
        take = _Files(catalog) if catalog.sqlite_file else _Advisory(catalog, stack, holder)
        for library_id in sorted(libraries):  # the same order for everybody
            said = ""
            while not take(library_id, holder, stack):
                other = take.holder(library_id) or "another scan"
                if other != said:
                    on_wait(f"{libraries[library_id]} is in use by {other}")
                said = other
                time.sleep(_POLL_SECONDS)
        yield


class _Files:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog.sqlite_file

    def _path(self, library_id: int) -> Path:
        return Path(f"{self._catalog}.library-{library_id}.lock")

    def __call__(self, library_id: int, holder: str, stack: ExitStack) -> bool:
        try:
            return self._take(self._path(library_id), holder, stack)
        except OSError as error:
            raise CatalogError(
                f"The lock {self._path(library_id)} cannot be taken: {error.strerror}. "
                "Give this user the right to write it and the catalog's folder, and room there."
            ) from error

    def _take(self, path: Path, holder: str, stack: ExitStack) -> bool:
        import fcntl

        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode("utf-8", "replace"))
        return True

    def holder(self, library_id: int) -> str:
        return self._path(library_id).read_bytes().decode("utf-8", "replace")


class _Advisory:
    def __init__(self, catalog: Catalog, stack: ExitStack, holder: str) -> None:
        engine = catalog.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection = engine.connect()
        name = holder.encode("ascii", "replace").decode()[:_LONGEST_NAME]
        for setting, value in {"application_name": name, **_KEEPALIVES}.items():
            self._connection.execute(_SET, {"setting": setting, "value": value})
        # Closed for good, not given back to the pool: with it go its locks, a moment later.
        self._connection.detach()
        stack.callback(self._connection.close)
        stack.callback(self._release)
        # The pool makes lost connections anew, unasked, but not the locks of this one.
        event.listen(catalog.engine, "begin", self._check)
        stack.callback(event.remove, catalog.engine, "begin", self._check)

    def _check(self, _connection: object) -> None:
        """Let no transaction begin once the locks are lost: another scan may have them."""
        self._connection.scalar(text("SELECT 1"))

    def _release(self) -> None:
        with suppress(SQLAlchemyError):  # a connection that is lost has none
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))

    def __call__(self, library_id: int, holder: str, stack: ExitStack) -> bool:  # noqa: ARG002
        lock = text("SELECT pg_try_advisory_lock(:kind, :id)")
        return bool(self._connection.scalar(lock, {"kind": _LIBRARIES, "id": library_id}))

    def holder(self, library_id: int) -> str:
        held = self._connection.scalar(_HOLDER, {"kind": _LIBRARIES, "id": library_id})
        return str(held or "")
