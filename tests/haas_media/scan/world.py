"""A world for whole scans: libraries with every kind of file, and a local TMDb."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_media.catalog import open_catalog
from haas_media.scan import scan
from tests.fake_tmdb import Catalogue, FakeTmdb, connected
from tests.haas_media.scan.scanning import contents
from tests.haas_media.scan.shelf import Shelf, make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases


@dataclass
class World:
    """Libraries on disk, a local TMDb, and databases for catalogs of different moments."""

    base: Path
    tmdb: FakeTmdb
    films: Shelf
    shows: Shelf
    databases: Databases

    def scan(self, url: str) -> dict[str, list[str]]:
        """Scan to the end; return what is in the catalog then."""
        with open_catalog(url) as catalog, connected(self.tmdb.url) as client:
            scan(make_settings(self.base), catalog, provider=client)
            return contents(catalog)


@contextmanager
def make_world(base: Path, clip: Path, databases: Databases) -> Iterator[World]:
    """Make libraries with every kind of file, and a local TMDb that knows most of them."""
    titles = Catalogue(movies=40, shows=6, people=60)
    with FakeTmdb(titles, latency=0.002) as tmdb:
        films, shows = (Shelf(base / name, clip) for name in ("films", "shows"))
        world = World(base, tmdb, films, shows, databases)
        for number in range(1, 13):
            name = f"{titles.title('movie', number)} ({titles.year(number)})"
            world.films.put(f"{name}/{name}.mkv")
        world.films.put(f"{name}/{name} 2160p.mkv", f"{name}/{name}-trailer.mkv", "4f3a9c1b2d.mkv")
        world.films.put("By id {tmdb-30}/film.mkv", "Nothing of that name (1931).mkv", "n/x.mkv")
        world.films.put("n/x.nfo", text="<movie><title>Only here</title><year>2001</year></movie>")
        world.films.put("broken (1999)/broken (1999).mkv")
        world.films.put("broken (1999)/movie.nfo", text="<movie>")
        world.films.put("junk (1999).mkv", text="junk")
        for number in range(1, 4):
            name = titles.title("tv", number)
            for episode in range(1, 4):
                world.shows.put(f"{name}/Season 1/{name} S01E{episode:02d}.mkv")
            world.shows.put(f"[Group] {name} - 02.mkv")
        yield world


def change(world: World) -> None:
    """Let many things happen between two scans."""
    titles = world.tmdb.catalogue
    first, second, third, fourth = (
        f"{titles.title('movie', number)} ({titles.year(number)})" for number in (1, 2, 3, 4)
    )
    world.films.move(first, f"Moved/{first}")
    world.films.move(f"{second}/{second}.mkv", f"{second}/renamed.mkv")
    world.films.remove(third)
    world.films.move(fourth, f"{fourth} {{tmdb-35}}")
    world.films.put("broken (1999)/movie.nfo", text="<movie><title>Whole</title></movie>")
    world.films.put("junk (1999).mkv")
    show = titles.title("tv", 1)
    world.shows.move(show, f"Series/{show}")
    world.shows.put(f"Series/{show}/Season 1/{show} S01E06.mkv")
    world.shows.remove(f"[Group] {titles.title('tv', 2)} - 02.mkv")
    for number in range(26, 30):
        world.films.put(f"New/{titles.title('movie', number)} ({titles.year(number)}).mkv")
