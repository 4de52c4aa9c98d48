"""A catalog moves from SQLite to PostgreSQL with everything in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select

from deployments.copy_catalog import copy_catalog
from haas_media.catalog import CatalogError, open_catalog
from haas_media.catalog.models import Base, Movie
from haas_media.library.add import add_to_library
from haas_media.providers.tmdb import TmdbClient
from haas_media.scan import scan
from haas_media.settings import Library, Settings
from tests.databases import new_postgres, postgres  # noqa: F401 - fixtures
from tests.fake_tmdb import Catalogue, FakeTmdb

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite catalog with something in every table."""
    folder = tmp_path_factory.mktemp("full")
    film = folder / "films" / "A film (2000) {tmdb-3}" / "film.mkv"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"no film")
    libraries = (Library(title="Films", kind="movies", path=folder / "films"),)
    settings = Settings(libraries=libraries, data_dir=folder / "data")
    with (
        FakeTmdb(Catalogue(10, 10, people=30)) as tmdb,
        TmdbClient("any", tmdb.url) as provider,
        open_catalog(settings.database_url) as catalog,
    ):
        scan(settings, catalog, provider=provider)
        add_to_library(catalog, provider, "tv", 2)
    return settings.database_url


def rows(url: str) -> dict[str, list[Any]]:
    with open_catalog(url) as catalog, catalog.reading() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all()))
            for table in Base.metadata.sorted_tables
        }


def test_every_row_arrives_and_new_ones_get_new_numbers(
    full: str,
    new_postgres: Callable[[], str],  # noqa: F811
) -> None:
    target = new_postgres()
    copied = copy_catalog(full, target)
    before = rows(full)
    assert {name: len(found) for name, found in before.items()} == copied
    assert all(copied[name] for name in ("movies", "shows", "episodes", "people", "credits"))
    assert rows(target) == before
    with pytest.raises(CatalogError, match="has rows in"):
        copy_catalog(full, target)
    assert rows(target) == before
    with open_catalog(target) as catalog, catalog.session() as session:
        highest = session.scalar(select(func.max(Movie.id)))
        session.execute(insert(Movie).values(tmdb_id=999, title="New", match_key="new"))
        assert session.scalar(select(func.max(Movie.id))) == highest + 1
