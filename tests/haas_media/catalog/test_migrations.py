"""Migrations of catalogs that hold something, on both databases: nothing goes with a table."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from haas_media.catalog import CatalogError, open_catalog, opening
from haas_media.catalog.models import Credit, Folder, MediaFile, Movie
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

FIRST = [
    "INSERT INTO libraries (id, title, kind, path, online) VALUES (1, 'F', 'movies', '/f', true)",
    "INSERT INTO people (id, name) VALUES (64, 'Keanu')",
    "INSERT INTO movies (id, tmdb_id, match_key, title, genres, popularity, source, added_at)"
    " VALUES (1, 603, 'matrix|1999', 'The Matrix', '[]', 1, 'tmdb', '2026-01-01'),"
    " (2, NULL, 'ran|1985', 'Ran', '[]', 0, 'name', '2026-01-01')",
    "INSERT INTO credits (id, person_id, movie_id, kind, weight)"
    " SELECT n, 64, 1, 'cast', 100 FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3) AS numbers",
    "INSERT INTO folders (id, library_id, path, signature, nfo_signature, mounted)"
    " VALUES (1, 1, 'a', 's', 'n', false), (2, 1, 'disk', 's', '?', true),"
    " (3, 1, 'b', '', '', false)",
]
FILE = (
    "INSERT INTO media_files (id, library_id, folder_id, path, size, mtime_ns, state, movie_id,"
    " unmatched_reason, identity, sidecars, added_at) VALUES (:id, 1, :folder, :path, 1, 1, :state,"
    " :movie, :reason, :identity, '[]', '2026-01-01')"
)
REMOVED = (
    "Removed from the library on request (movie 603); add it to the library again, or change the "
    "file, to bring it back"
)
NAMELESS = (
    "The name says nothing about what the file holds. Rename the file or its folder to"
    " 'Title (Year)', or put an id tag such as {tmdb-603} into the folder's name."
)
SECOND = [
    "UPDATE media_files SET version = '1080p', recheck = false WHERE id IN (1, 2)",
    "UPDATE folders SET recheck = false",
    """UPDATE media_files SET identity = '{"title": "T", "part": 2}' WHERE id = 3""",
    """UPDATE media_files SET identity = '{"date": "2026-01-01", "part": 2}' WHERE id = 4""",
]
FILES: list[dict[str, Any]] = [
    {"folder": 1, "path": "a/m.mkv", "state": "matched", "movie": 1, "reason": None},
    {"folder": 1, "path": "a/x.mkv", "state": "unmatched", "movie": None, "reason": REMOVED},
    {"folder": 1, "path": "a/y.mkv", "state": "unmatched", "movie": None, "reason": NAMELESS},
    {"folder": 1, "path": "a/z.mkv", "state": "unmatched", "movie": None, "reason": "100 % new."},
    {"folder": 2, "path": "disk/d.mkv", "state": "matched", "movie": 2, "reason": None},
    {"folder": 3, "path": "b/p.mkv", "state": "pending", "movie": None, "reason": None},
]


@contextmanager
def upgraded(database_url: str, version: str) -> Iterator[Connection]:
    """Bring a catalog to a version, to be filled as it was then."""
    engine = opening._engine(opening.read_url(database_url))
    config = Config()
    config.set_main_option("script_location", str(opening.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        yield connection
    engine.dispose()


@pytest.fixture
def first_version(database_url: str) -> str:
    """A filled catalog of the first version."""
    with upgraded(database_url, "0001") as connection:
        for statement in FIRST:
            connection.execute(text(statement))
        for number, file in enumerate(FILES, 1):
            identity = None if file["state"] == "pending" else '{"title": "T", "unheard": 1}'
            connection.execute(text(FILE), {**file, "id": number, "identity": identity})
    return database_url


@on_both_databases
def test_the_second_version_keeps_what_the_first_one_had(first_version: str) -> None:
    with open_catalog(first_version) as catalog, catalog.reading() as session:
        assert session.query(Credit).count() == 3
        movies = {movie.title: movie.requested for movie in session.query(Movie)}
        assert movies == {"The Matrix": True, "Ran": False}
        files = {file.path: file for file in session.query(MediaFile)}
        assert {path: file.movie_id for path, file in files.items() if file.movie_id} == {
            "a/m.mkv": 1,
            "disk/d.mkv": 2,
        }
        assert {
            path: (file.reason_code, file.reason_args, file.unmatched_reason)
            for path, file in files.items()
            if file.reason_code
        } == {
            "a/x.mkv": ("removed-on-request", {"title": "movie 603"}, REMOVED),
            "a/y.mkv": ("name-says-nothing", {}, NAMELESS),
            "a/z.mkv": ("earlier", {"sentence": "100 % new."}, "100 % new."),
        }
        assert files["a/m.mkv"].unmatched_reason is None
        assert [path for path, file in files.items() if file.recheck] == ["disk/d.mkv", "b/p.mkv"]
        folders = {folder.path: folder for folder in session.query(Folder)}
        assert {path: (f.recheck, f.mount) for path, f in folders.items()} == {
            "a": (False, None),
            "disk": (True, ""),
            "b": (True, None),
        }


@on_both_databases
def test_the_third_version_keeps_parts_and_has_versions_looked_at_again(first_version: str) -> None:
    with upgraded(first_version, "0002") as connection:
        for statement in SECOND:
            connection.execute(text(statement.replace(":", "\\:")))
    with open_catalog(first_version) as catalog, catalog.reading() as session:
        files = {file.id: file for file in session.query(MediaFile)}
        assert [files[number].part for number in (1, 3, 4)] == [None, 2, None]
        assert [files[number].version for number in (1, 2, 3)] == ["1080p", "1080p", None]
        # What was removed on request stays as it is.
        assert [files[number].recheck for number in (1, 2, 3)] == [True, False, False]
        assert {f.path: f.recheck for f in session.query(Folder)}["a"]


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up migration that makes the tables anew that most others refer to."""
    folder = tmp_path / "migrations"
    shutil.copytree(opening.MIGRATIONS, folder)
    monkeypatch.setattr(opening, "MIGRATIONS", folder)
    monkeypatch.setattr(opening, "HEAD", "made up")
    made_up = folder / "versions" / "made_up.py"
    made_up.write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision, down_revision = 'made up', '0003'\n"
        "def upgrade():\n"
        "    for table in ('movies', 'people', 'media_files', 'libraries'):\n"
        "        with op.batch_alter_table(table, recreate='auto') as batch:\n"
        "            batch.add_column(sa.Column('rated', sa.Integer(), nullable=True))\n"
        "            batch.alter_column('id', comment='made anew')\n"
    )
    return made_up


@on_both_databases
@pytest.mark.usefixtures("next_version")
def test_a_migration_that_makes_tables_anew_deletes_nothing(first_version: str) -> None:
    with open_catalog(first_version) as catalog, catalog.reading() as session:
        assert session.scalar(text("SELECT count(rated) + count(*) FROM movies")) == 2
        assert session.scalar(text("SELECT count(*) FROM credits")) == 3
        titles = text("SELECT count(*) FROM media_files WHERE movie_id IS NOT NULL")
        assert session.scalar(titles) == 2
        assert session.scalar(text("SELECT count(*) FROM folders")) == 3
        if catalog.sqlite_file:
            assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_migration_that_leaves_rows_without_what_they_refer_to_is_undone(
    first_version: str, next_version: Path
) -> None:
    made_up = next_version.read_text()
    next_version.write_text(made_up + "    op.execute('DELETE FROM movies')\n")
    with pytest.raises(CatalogError, match="do not fit each other"):
        open_catalog(first_version)
    next_version.write_text(made_up)
    with open_catalog(first_version) as catalog, catalog.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM movies")) == 2
