"""Integrity is the database's: these go around every line of our own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog

pytestmark = on_both_databases

FILLED = """
INSERT INTO libraries (id, title, kind, path) VALUES (1, 'Films', 'movies', '/films');
INSERT INTO movies (id, tmdb_id, match_key, title, genres, popularity, source, added_at)
    VALUES (1, 603, 'matrix|1999', 'The Matrix', '[]', 1, 'tmdb', '2024-01-01'),
    (2, 949, 'heat|1995', 'Heat', '[]', 1, 'tmdb', '2024-01-01'),
    (3, 950, 'heat|1995', 'Heat', '[]', 1, 'tmdb', '2024-01-01'),
    (4, NULL, 'heat|1995', 'Heat', '[]', 1, 'name', '2024-01-01');
INSERT INTO shows (id, tmdb_id, match_key, title, genres, popularity, source, season_numbers,
    added_at) VALUES (1, 1399, 'dark|2017', 'Dark', '[]', 1, 'tmdb', '[]', '2024-01-01');
INSERT INTO seasons (id, show_id, number) VALUES (1, 1, 1);
INSERT INTO episodes (id, season_id, number) VALUES (1, 1, 1);
INSERT INTO people (id, name) VALUES (6384, 'Keanu Reeves');
INSERT INTO credits (person_id, movie_id, kind, weight) VALUES (6384, 1, 'cast', 1);
INSERT INTO credits (person_id, show_id, kind, weight) VALUES (6384, 1, 'cast', 1);
INSERT INTO credits (person_id, episode_id, kind, weight) VALUES (6384, 1, 'crew', 1);
INSERT INTO media_files (id, library_id, path, size, mtime_ns, state, movie_id, sidecars, added_at)
    VALUES (1, 1, 'a.mkv', 1, 1, 'matched', 1, '[]', '2024-01-01');
INSERT INTO media_files (id, library_id, path, size, mtime_ns, state, show_id, sidecars, added_at)
    VALUES (2, 1, 'b.mkv', 1, 1, 'matched', 1, '[]', '2024-01-01');
INSERT INTO media_file_episodes (media_file_id, episode_id) VALUES (2, 1)
"""

IMPOSSIBLE = [
    "INSERT INTO credits (person_id, kind, weight) VALUES (6384, 'cast', 1)",
    "INSERT INTO credits (person_id, movie_id, show_id, kind, weight)"
    " VALUES (6384, 1, 1, 'cast', 1)",
    "INSERT INTO credits (person_id, movie_id, kind, weight) VALUES (6384, 1, 'team', 1)",
    "INSERT INTO credits (person_id, movie_id, kind, weight) VALUES (1, 1, 'cast', 1)",
    "INSERT INTO credits (person_id, movie_id, kind, weight) VALUES (6384, 9, 'cast', 1)",
    "DELETE FROM people WHERE id = 6384",
    "INSERT INTO libraries (title, kind, path) VALUES ('Films', 'tv', '/x')",
    "INSERT INTO libraries (title, kind, path) VALUES ('Songs', 'music', '/x')",
    "INSERT INTO movies (tmdb_id, match_key, title, genres, popularity, source, added_at)"
    " VALUES (603, 'x', 'X', '[]', 1, 'tmdb', '2024-01-01')",
    # Known by name alone, they are one.
    "INSERT INTO movies (match_key, title, genres, popularity, source, added_at)"
    " VALUES ('heat|1995', 'Heat', '[]', 0, 'name', '2024-01-01')",
    "INSERT INTO seasons (show_id, number) VALUES (1, 1)",
    "INSERT INTO seasons (show_id, number) VALUES (1, -1)",
    "INSERT INTO episodes (season_id, number) VALUES (1, 1)",
    "INSERT INTO media_file_episodes (media_file_id, episode_id) VALUES (1, 2)",
    "UPDATE media_files SET path = 'a.mkv' WHERE id = 2",
    "UPDATE media_files SET show_id = 1 WHERE id = 1",
    "UPDATE media_files SET state = 'lost' WHERE id = 1",
]


def run(catalog: Catalog, statements: str) -> None:
    with catalog.session() as session:
        for statement in statements.split(";"):
            session.execute(text(statement))


def count(catalog: Catalog, table: str, where: str = "true") -> int:
    with catalog.reading() as session:
        found = session.scalar(text(f"SELECT count(*) FROM {table} WHERE {where}"))
    return int(found or 0)


def is_refused(catalog: Catalog, statement: str) -> bool:
    try:
        run(catalog, statement)
    except IntegrityError:
        return True
    return False


def test_what_cannot_be_is_refused(catalog: Catalog) -> None:
    run(catalog, FILLED)
    assert [each for each in IMPOSSIBLE if not is_refused(catalog, each)] == []


def test_a_title_takes_its_credits_and_episodes_along_but_no_file_and_nobody(
    catalog: Catalog,
) -> None:
    run(catalog, FILLED)
    run(catalog, "DELETE FROM movies; DELETE FROM shows")
    left = {
        table: count(catalog, table)
        for table in ("credits", "seasons", "episodes", "media_file_episodes")
    }
    assert left == {"credits": 0, "seasons": 0, "episodes": 0, "media_file_episodes": 0}
    assert count(catalog, "people") == 1
    assert count(catalog, "media_files", "movie_id IS NULL AND show_id IS NULL") == 2


def test_a_library_takes_its_files_along_but_no_title(catalog: Catalog) -> None:
    run(catalog, FILLED)
    run(catalog, "DELETE FROM libraries")
    assert count(catalog, "media_files") == 0
    assert count(catalog, "movies") == 4
