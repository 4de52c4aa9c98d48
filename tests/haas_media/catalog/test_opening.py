"""Opening: migrations from empty, several processes at once, addresses that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import OperationalError

from haas_media.catalog import (
    CatalogError,
    CatalogUnreachable,
    is_out_of_reach,
    migrations,
    open_catalog,
    opening,
)
from haas_media.catalog.models import Base, Library
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from haas_media.catalog.opening import Catalog

# All but one put a library on record once all are there; that one dies in the middle of it.
WRITERS = """
import os, signal, sys
import alembic.command, psycopg, haas_media.catalog.opening
from haas_media.catalog import open_catalog
from haas_media.catalog.models import Library
waiting, go = os.pipe()
for number in range(5):
    if not os.fork():
        os.close(go)
        os.read(waiting, 1)
        with open_catalog(sys.argv[1]) as catalog, catalog.session() as session:
            session.add(Library(title=f"library {number}", kind="tv", path="/x"))
            session.flush()
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
os.close(go)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(5)))
"""


@on_both_databases
def test_migrations_lead_to_the_models(catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_newest_migration() -> None:
    script = ScriptDirectory(next(iter(migrations.__path__)))
    assert script.get_current_head() == migrations.HEAD


@on_both_databases
def test_many_processes_open_an_empty_catalog_at_once_and_one_is_killed(database_url: str) -> None:
    writers = [sys.executable, "-c", WRITERS, database_url]
    done = subprocess.run(writers, capture_output=True, text=True, check=False)
    assert done.stdout == "[-9, 0, 0, 0, 0]\n", done.stderr
    with open_catalog(database_url) as catalog, catalog.reading() as session:
        titles = session.scalars(select(Library.title).order_by(Library.title)).all()
    assert titles == [f"library {number}" for number in range(1, 5)]


def test_many_threads_open_different_catalogs_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        open_catalog(f"sqlite:///{tmp_path / str(number)}.sqlite3").close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


@on_both_databases
def test_a_failing_session_leaves_nothing(catalog: Catalog) -> None:
    class Stop(BaseException):
        pass

    def work() -> None:
        with catalog.session() as session:
            session.add(Library(title="Films", kind="movies", path="/films"))
            session.flush()
            raise Stop

    with pytest.raises(Stop):
        work()
    with catalog.reading() as session:
        assert session.query(Library).count() == 0


@on_both_databases
def test_a_reader_does_not_hinder_a_writer(catalog: Catalog) -> None:
    with catalog.reading() as reader:
        assert reader.query(Library).count() == 0
        with catalog.session() as writer:
            writer.add(Library(title="Films", kind="movies", path="/films"))
        # The reader's own view stays until it ends; nobody waited.
    with catalog.reading() as reader:
        assert reader.query(Library).count() == 1


@on_both_databases
def test_writers_that_read_first_take_turns(catalog: Catalog) -> None:
    """A reader that turns writer while another writes would fail at once on SQLite."""
    with catalog.session() as session:
        session.add(Library(title="Films", kind="movies", path="0"))
    barrier = threading.Barrier(2)

    def work() -> None:
        barrier.wait()
        for _ in range(20):
            with catalog.session() as session:
                library = session.query(Library).with_for_update().one()
                library.path = str(int(library.path) + 1)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work) for _ in range(2)]:
            done.result()
    with catalog.reading() as session:
        assert session.query(Library.path).scalar() == "40"


@on_both_databases
def test_a_catalog_from_the_future_is_refused(database_url: str) -> None:
    with open_catalog(database_url) as catalog, catalog.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="newer version of this program"):
        open_catalog(database_url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not understood"),
        ("mysql://root@localhost/x", "cannot be kept in 'mysql'"),
        ("postgresql://nobody:secret@127.0.0.1:1/x", "cannot be opened"),
        ("postgresql://nobody:a@b:secret/x", "not understood.* written as in %2F for /"),
        (
            "postgresql+asyncpg://nobody:secret@127.0.0.1:1/x",
            "through 'postgresql\\+asyncpg'",
        ),
        ("sqlite+aiosqlite:////tmp/x.sqlite3", "through 'sqlite\\+aiosqlite'"),
        ("postgresql+nonsense://nobody@127.0.0.1:1/x", "through 'postgresql\\+nonsense'"),
        ("sqlite://", "forgotten as soon as"),
        ("sqlite:///:memory:", "forgotten as soon as"),
    ],
)
def test_a_wrong_address_is_refused_with_a_sentence(url: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says) as caught:
        open_catalog(url)
    assert "secret" not in str(caught.value)
    assert "HAAS_DATABASE_URL" in str(caught.value) or "database_url" in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    path.write_text("this is not a database " * 100)
    with pytest.raises(CatalogError, match="cannot be opened"):
        open_catalog(f"sqlite:///{path}")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "database.invalid"])
def test_a_database_that_does_not_answer_may_do_so_later(host: str) -> None:
    with pytest.raises(CatalogUnreachable) as caught:
        open_catalog(f"postgresql://nobody@{host}/x")
    assert is_out_of_reach(caught.value)


def test_a_network_that_is_lost_in_the_middle_may_be_back_later() -> None:
    import psycopg

    lost = "consuming input failed: could not receive data from server: No route to host"
    assert is_out_of_reach(OperationalError("", {}, psycopg.OperationalError(lost)))


@pytest.mark.parametrize("wrong", [{"database": "nowhere"}, {"username": "nobody"}])
def test_an_answer_that_says_no_is_final(
    new_postgres: Callable[[], str], wrong: dict[str, str]
) -> None:
    url = make_url(new_postgres()).set(**wrong)
    with pytest.raises(CatalogError) as caught:
        open_catalog(url.render_as_string(hide_password=False))
    assert not is_out_of_reach(caught.value)


def test_a_postgresql_that_will_not_do_is_refused(new_postgres: Callable[[], str]) -> None:
    from types import SimpleNamespace

    import psycopg

    from haas_media.catalog.opening import _refuse_unfit

    url = new_postgres()
    with psycopg.connect(url, autocommit=True) as connection:
        name = "any_bytes"
        encoding = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(f"CREATE DATABASE {name} {encoding}")
    wrong = make_url(url).set(database=name).render_as_string(hide_password=False)
    with pytest.raises(CatalogError, match="has the encoding SQL_ASCII, and needs UTF8"):
        open_catalog(wrong)
    # None that is older is at hand.
    old = SimpleNamespace(info=SimpleNamespace(server_version=130_021, host="db"))
    with pytest.raises(CatalogError, match="needs PostgreSQL 14 or newer, and db has 13"):
        _refuse_unfit(old, None)


def test_a_connection_that_is_lost_may_be_made_again(new_postgres: Callable[[], str]) -> None:
    with open_catalog(new_postgres()) as catalog, catalog.engine.connect() as mine:
        number = mine.scalar(text("SELECT pg_backend_pid()"))
        with catalog.session() as other:
            other.execute(text(f"SELECT pg_terminate_backend({number}, 5000)"))
        with pytest.raises(OperationalError) as caught:
            mine.execute(text("SELECT 1"))
    assert is_out_of_reach(caught.value)


def test_a_file_that_somebody_else_writes_to_may_be_free_later(tmp_path: Path) -> None:
    with (
        open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite3'}") as catalog,
        catalog.session() as session,
        catalog.engine.connect() as hasty,
    ):
        session.execute(text("SELECT 1"))
        hasty.execution_options(haas_read_only=True).exec_driver_sql("PRAGMA busy_timeout = 0")
        with pytest.raises(OperationalError) as caught:
            hasty.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
    assert is_out_of_reach(caught.value)
    assert not is_out_of_reach(ValueError("anything else"))


def test_a_file_that_stays_locked_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 1)
    url = f"sqlite:///{tmp_path / 'catalog.sqlite3'}"
    tries: list[float] = []
    with open_catalog(url) as catalog, open_catalog(url) as other, catalog.session() as session:
        session.execute(text("SELECT 1"))
        monkeypatch.setattr(opening.time, "sleep", tries.append)
        with pytest.raises(OperationalError):
            other.write(lambda session: session.execute(text("SELECT 1")))
    assert tries == [], "SQLite has waited long enough"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("written", ["to nothing", "to the file", "to the folder"])
def test_reading_needs_no_right_to_write(tmp_path: Path, written: str) -> None:
    path = tmp_path / "ein # ordner" / "catalog.sqlite3"
    url = f"sqlite:///{path}"
    with open_catalog(url) as catalog, catalog.session() as session:
        session.add(Library(title="Films", kind="movies", path="/films"))
    path.parent.chmod(0o777 if written == "to the folder" else 0o755)
    path.chmod(0o666 if written == "to the file" else 0o644)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o711)
    tmp_path.chmod(0o711)
    os.seteuid(65534)
    try:
        with open_catalog(url, read_only=True) as catalog, catalog.reading() as session:
            assert session.query(Library.title).scalar() == "Films"
    finally:
        os.seteuid(0)


def test_what_is_not_there_yet_is_made_for_reading_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'catalog.sqlite3'}"
    with open_catalog(url, read_only=True) as catalog, catalog.reading() as session:
        assert session.query(Library).count() == 0


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="HAAS_DATA_DIR"):
        open_catalog(f"sqlite:///{tmp_path / 'file' / 'catalog.sqlite3'}")


def test_importing_the_package_does_not_load_sqlalchemy() -> None:
    code = "import sys, haas_media.catalog; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
