"""Opening a catalog: engine, pragmas, migrations, sessions."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from haas_media.catalog import CatalogError, CatalogUnreachable
from haas_media.catalog.migrations import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_SECONDS = 60
OLDEST_POSTGRESQL = 14
_ATTEMPTS = 5
_TAKES = "database_url takes sqlite:///path or postgresql://user@host/name."
# Others wait in another way, or tell of errors in another way.
_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite", "postgresql+psycopg"})
# Deadlock, serialisation failure, and what a title deleted or made meanwhile leads to.
_CONFLICTS = frozenset({"40P01", "40001", "23503", "23505"})
# PostgreSQL's classes of connection failures, of resources used up, of shutdowns and restarts.
_PASSING = frozenset({"08", "53", "57"})
_NOT_NOW = ("starting up", "shutting down", "too many clients", "recovery mode")
# Any number that other users of the same PostgreSQL database are unlikely to lock.
_MIGRATION_LOCK = 0x4841_4153
# Alembic keeps what it is doing in global variables.
_alembic = threading.Lock()


class Catalog:
    """An open catalog. Threads may share it, each with sessions of its own.

    Args:
        engine: an engine whose database is migrated.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(haas_read_only=True)

    @property
    def sqlite_file(self) -> str | None:
        """The path of the catalog's file; none on PostgreSQL."""
        return self.engine.url.database if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session for reading and writing; commit at the end, roll back on any exception.

        On SQLite this is the one writer: keep it short, and never wait for a network in it.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            try:
                yield session
            except BaseException:
                session.rollback()
                raise
            session.commit()

    def write(self, work: Callable[[Session], T]) -> T:
        """Do work in a session of its own, again if another writer got in its way.

        Args:
            work: called with a session; must only touch the database, as it may be called again.
        """
        start = time.monotonic()
        for attempt in range(_ATTEMPTS):
            try:
                with self.session() as session:
                    return work(session)
            except (IntegrityError, OperationalError) as error:
                last = attempt == _ATTEMPTS - 1 or time.monotonic() - start >= BUSY_SECONDS
                if last or not _is_conflict(error):
                    raise
                time.sleep(random.uniform(0.01, 0.1) * 2**attempt)  # noqa: S311
        raise AssertionError("unreachable")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads, and hinders no writer."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(database_url: str, *, read_only: bool = False) -> Catalog:
    """Do what ``haas_media.catalog.open_catalog`` says."""
    url = read_url(database_url)
    if read_only and (catalog := _connect_for_reading(url)):
        return catalog
    _make_folder(url)
    engine = _engine(url)
    try:
        migrate(engine)
    except CatalogError:
        engine.dispose()
        raise
    except DBAPIError as error:
        engine.dispose()
        kind = CatalogUnreachable if may_pass(error) else CatalogError
        raise kind(
            f"The catalog {shown(url)} cannot be opened: {first_line(error)}. "
            "Check the address in HAAS_DATABASE_URL and that the database is there and writable."
        ) from error
    return Catalog(engine)


def _connect_for_reading(url: URL) -> Catalog | None:
    """Open a catalog that is there and of this version, without the right to write it."""
    engines = [plain_engine(url)]
    if url.get_backend_name() == "sqlite":
        # The second way is for a folder that may not be written, either: SQLite then cannot share
        # the file with a writer, so it is taken only where nothing waits to be written into it.
        ways = ["mode=ro"] + ["immutable=1"] * (not os.path.exists(f"{url.database}-wal"))  # noqa: PTH110
        files = [partial(_open_file, str(url.database), way) for way in ways]
        engines = [plain_engine(url, creator=file) for file in files]
    for engine in engines:
        with suppress(DBAPIError):
            if version(engine) == HEAD:
                return Catalog(engine)
        engine.dispose()
    return None


def _open_file(path: str, way: str) -> sqlite3.Connection:
    address = f"file:{quote(os.path.abspath(path))}?{way}"  # noqa: PTH100 - as SQLite takes it
    return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=BUSY_SECONDS)


def read_url(database_url: str) -> URL:
    """Read the address of a catalog.

    Raises:
        CatalogError: it is not understood, or of a database or driver that will not do.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):  # of a port that is no number, which may be a password
        raise CatalogError(
            f"The catalog's address is not understood. {_TAKES} "
            "What is special in a password is written as in %2F for / and %40 for @."
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise CatalogError(f"The catalog cannot be kept in {url.get_backend_name()!r}. {_TAKES}")
    if url.drivername not in _DRIVERS:
        raise CatalogError(f"The catalog cannot be reached through {url.drivername!r}. {_TAKES}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise CatalogError(
            f"A catalog in memory would be forgotten as soon as it was made. {_TAKES}"
        )
    return url


def _make_folder(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(
                f"The folder of the catalog {url.database} cannot be made: {error.strerror}. "
                "Set data_dir (HAAS_DATA_DIR) to a folder that is writable."
            ) from None


def shown(url: URL) -> str:
    """Return an address as it may be shown: without its password."""
    return url.render_as_string(hide_password=True)


def first_line(error: DBAPIError) -> str:
    """Return what a database complains of, without its explanations."""
    return str(error.orig).strip().partition("\n")[0].rstrip(".")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = plain_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    return plain_engine(url, pool_pre_ping=True)


def plain_engine(url: URL, **options: Any) -> Engine:
    """Make an engine that changes nothing of its database by itself.

    Raises:
        CatalogError: the database's driver is not installed.
    """
    try:
        engine = create_engine(url, **options)
    except ModuleNotFoundError:
        raise CatalogError(
            "PostgreSQL needs its driver. Install it with: pip install 'psycopg[binary]'"
        ) from None
    if engine.dialect.name == "postgresql":
        # Before SQLAlchemy's own, which takes text for granted.
        event.listen(engine, "connect", _refuse_unfit, insert=True)
    return engine


def _refuse_unfit(connection: Any, _record: object) -> None:
    """Refuse a PostgreSQL that is too old, or a database whose text is bytes of any kind."""
    info = connection.info
    if info.server_version < OLDEST_POSTGRESQL * 10_000:
        raise CatalogError(
            f"The catalog needs PostgreSQL {OLDEST_POSTGRESQL} or newer, and {info.host} has "
            f"{info.server_version // 10_000}. Upgrade it, or set HAAS_DATABASE_URL to another."
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise CatalogError(
            f"The catalog's database {info.dbname} has the encoding {encoding}, and needs UTF8: "
            f"CREATE DATABASE {info.dbname} ENCODING 'UTF8' TEMPLATE template0."
        )


def _sqlite_connect(connection: Any, _record: object) -> None:
    # Transactions are begun by _sqlite_begin, not by the driver, which would do it too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Switch to WAL; SQLite does not wait here when another process does so at the same time."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except Exception as error:  # the driver's own OperationalError, not SQLAlchemy's
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _sqlite_begin(connection: Connection) -> None:
    # A reader that turns writer half-way cannot wait for its turn, so writers say so at once.
    reading = connection.get_execution_options().get("haas_read_only")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def migrate(engine: Engine) -> None:
    """Bring the database to this program's version; several processes may do so at once."""
    if version(engine) == HEAD:
        return
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            with connection.begin():
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                _upgrade(connection)
            return
        # A table that SQLite has to make anew is dropped first: what refers to it must not follow.
        # Nothing in a transaction changes this setting.
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            _upgrade(connection)
            if lost := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise CatalogError(
                    f"The catalog's tables do not fit each other (table {lost[0]}, row {lost[1]}). "
                    "Nothing was changed. Restore it from a copy, or let a new one be made."
                )
        connection.connection.cursor().execute("PRAGMA foreign_keys = ON")


def version(engine: Engine) -> str | None:
    """Read the version of a catalog's tables; None when there are none."""
    try:
        with engine.connect().execution_options(haas_read_only=True) as connection:
            found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return found
    except DBAPIError as error:
        if _is_missing_table(error):
            return None
        raise


def may_pass(error: DBAPIError) -> bool:
    """Say whether what a database complains of may be gone a little later."""
    if not isinstance(error, OperationalError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return _is_conflict(error) or state[:2] in _PASSING
    if not hasattr(error.orig, "sqlstate"):  # SQLite
        return _is_conflict(error)
    # Without a connection PostgreSQL's driver has words only, many of them the system's.
    reason = str(error.orig)
    return "FATAL" not in reason or any(word in reason for word in _NOT_NOW)


def _is_conflict(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state in _CONFLICTS if state else "locked" in str(error.orig)


def _is_missing_table(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlstate", None) == "42P01":
        return True
    return isinstance(error, OperationalError) and "no such table" in str(error.orig)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        with _alembic:
            command.upgrade(config, "head")
    except CommandError as error:
        raise CatalogError(
            "The catalog was made by a newer version of this program. "
            f"Upgrade haas-media, or use another database. ({error})"
        ) from None
