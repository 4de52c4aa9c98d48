"""Cleaning up people in a large catalog, against the bare SQL.

    python -m benchmarks.cleanup [--credits 1000000] [--people 200000] [--rounds 3]

Half of the people are referred to by no credit. Both ways delete them from the same catalog, each
time from a fresh copy; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, text

from haas_media.catalog import open_catalog
from haas_media.catalog.models import Credit, Movie, Person
from haas_media.library.cleanup import cleanup_people
from tests.databases import Postgres, Sqlite

if TYPE_CHECKING:
    from collections.abc import Callable

    from haas_media.catalog.opening import Catalog
    from tests.databases import Databases

BARE = "DELETE FROM people WHERE NOT EXISTS (SELECT 1 FROM credits WHERE person_id = people.id)"
MOVIES = 10_000
CHUNK = 50_000


def fill(catalog: Catalog, credits_wanted: int, people: int) -> None:
    """Write movies, people, and credits that refer to every second person."""
    movies = [
        {"id": i, "tmdb_id": i, "title": f"M{i}", "match_key": f"m{i}|"} for i in range(1, MOVIES)
    ]
    with catalog.session() as session:
        session.execute(insert(Movie), movies)
        for start in range(0, people, CHUNK):
            last = min(start + CHUNK, people)
            rows = [{"id": 1 + i, "name": f"Person {i}"} for i in range(start, last)]
            session.execute(insert(Person), rows)
        for start in range(0, credits_wanted, CHUNK):
            last = min(start + CHUNK, credits_wanted)
            session.execute(insert(Credit), [_credit(i, people) for i in range(start, last)])
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _credit(number: int, people: int) -> dict[str, object]:
    # 7919 is a prime: neighbouring credits are of people far apart, as in life.
    person = 2 * (number * 7919 % (people // 2)) + 1
    return {
        "person_id": person,
        "movie_id": 1 + number % (MOVIES - 1),
        "kind": "cast",
        "weight": 100,
    }


def _bare(catalog: Catalog) -> int:
    with catalog.engine.begin() as connection:
        return connection.execute(text(BARE)).rowcount


def _ours(catalog: Catalog) -> int:
    return cleanup_people(catalog).deleted


def measure(databases: Databases, wanted: argparse.Namespace) -> tuple[float, float]:
    """Return the median seconds of the bare SQL and of the cleanup."""
    original = databases.new()
    with open_catalog(original) as catalog:
        fill(catalog, wanted.credits, wanted.people)
    seconds: dict[Callable[[Catalog], int], list[float]] = {_bare: [], _ours: []}
    for _ in range(wanted.rounds):
        for way, measured in seconds.items():
            with open_catalog(databases.copy(original)) as catalog:
                with catalog.reading() as session:  # read the file into the cache of the machine
                    session.execute(text("SELECT count(*) FROM credits"))
                started = time.perf_counter()
                deleted = way(catalog)
                measured.append(time.perf_counter() - started)
            if deleted != wanted.people // 2:
                raise SystemExit(f"{way.__name__} deleted {deleted} of {wanted.people}")
    return statistics.median(seconds[_bare]), statistics.median(seconds[_ours])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credits", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    print(f"{wanted.credits:,} credits, {wanted.people:,} people, half of them orphans\n")
    print(f"{'database':<12}{'bare SQL s':>12}{'cleanup s':>12}{'ratio':>8}   (at most 1.5)")
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Postgres()) as postgres:
        for name, databases in (("SQLite", Sqlite(Path(folder))), ("PostgreSQL", postgres)):
            bare, ours = measure(databases, wanted)
            print(f"{name:<12}{bare:>12.2f}{ours:>12.2f}{ours / bare:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
