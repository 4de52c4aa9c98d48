"""What a catalog holds, as plain data to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from haas_media.catalog.models import (
    Base,
    Credit,
    Library,
    MediaFile,
    Movie,
    Person,
    Season,
    Show,
)

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog


def rows(catalog: Catalog) -> dict[str, int]:
    """Return the number of rows of each table that has any."""
    with catalog.reading() as session:
        found = {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }
    return {name: count for name, count in found.items() if count}


def people(catalog: Catalog) -> dict[int, str]:
    """Return everybody by id."""
    with catalog.reading() as session:
        return {row.id: row.name for row in session.execute(select(Person.id, Person.name))}


def credits_of(catalog: Catalog) -> set[tuple[int, str, str | None]]:
    """Return person, kind and role or job of each credit."""
    with catalog.reading() as session:
        found = session.execute(
            select(Credit.person_id, Credit.kind, func.coalesce(Credit.character, Credit.job))
        )
        return {(row[0], row[1], row[2]) for row in found}


def one(catalog: Catalog, model: Any, **values: Any) -> Any:
    """Return the only row with these values."""
    with catalog.reading() as session:
        return session.scalars(select(model).filter_by(**values)).one()


def seasons(catalog: Catalog, tmdb_id: int) -> list[int]:
    """Return the numbers of the seasons of a show."""
    with catalog.reading() as session:
        query = select(Season.number).join(Show).where(Show.tmdb_id == tmdb_id)
        return sorted(session.scalars(query))


def add_file(catalog: Catalog, path: str, *, movie: int = 0, show: int = 0, **values: Any) -> int:
    """Put a file on record that belongs to a title given by its TMDb id; return its id."""
    kind = "movies" if movie else "tv"
    with catalog.session() as session:
        library = session.scalars(select(Library).filter_by(kind=kind)).one_or_none()
        if library is None:
            library = Library(title=kind, kind=kind, path=f"/{kind}")
            session.add(library)
            session.flush()
        file = MediaFile(
            library_id=library.id,
            path=path,
            size=1,
            mtime_ns=1,
            **{"state": "matched", **values},
        )
        if movie:
            file.movie_id = session.scalars(select(Movie.id).filter_by(tmdb_id=movie)).one()
        if show:
            file.show_id = session.scalars(select(Show.id).filter_by(tmdb_id=show)).one()
        session.add(file)
        session.flush()
        return file.id
