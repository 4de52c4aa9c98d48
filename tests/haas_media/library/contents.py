"""What a catalog holds, as plain data to compare, and who changes it."""

from __future__ import annotations

from dataclasses import dataclass
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
from haas_media.library.add import add_to_library
from haas_media.library.cleanup import cleanup_people
from haas_media.library.refresh import refresh
from haas_media.library.remove import remove_from_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haas_media.catalog.opening import Catalog
    from haas_media.library.add import AddReport
    from haas_media.library.cleanup import CleanupReport
    from haas_media.library.refresh import RefreshReport
    from haas_media.library.remove import RemoveReport
    from haas_media.providers.tmdb import TmdbClient


@dataclass
class Contents:
    """What is in a catalog."""

    catalog: Catalog

    def rows(self) -> dict[str, int]:
        """Return the number of rows of each table that has any."""
        with self.catalog.reading() as session:
            found = {
                table.name: session.scalar(select(func.count()).select_from(table)) or 0
                for table in Base.metadata.sorted_tables
            }
        return {name: count for name, count in found.items() if count}

    def people(self) -> dict[int, str]:
        """Return everybody by id."""
        with self.catalog.reading() as session:
            return {row.id: row.name for row in session.execute(select(Person.id, Person.name))}

    def credits(self) -> set[tuple[int, str, str | None]]:
        """Return person, kind and role or job of each credit."""
        with self.catalog.reading() as session:
            found = session.execute(
                select(Credit.person_id, Credit.kind, func.coalesce(Credit.character, Credit.job))
            )
            return {(row[0], row[1], row[2]) for row in found}

    def one(self, model: Any, **values: Any) -> Any:
        """Return the only row with these values."""
        with self.catalog.reading() as session:
            return session.scalars(select(model).filter_by(**values)).one()

    def seasons(self, tmdb_id: int) -> list[int]:
        """Return the numbers of the seasons of a show."""
        with self.catalog.reading() as session:
            query = select(Season.number).join(Show).where(Show.tmdb_id == tmdb_id)
            return sorted(session.scalars(query))

    def add_file(self, path: str, *, movie: int = 0, show: int = 0, **values: Any) -> int:
        """Put a file on record that belongs to a title given by its TMDb id; return its id."""
        kind = "movies" if movie else "tv"
        with self.catalog.session() as session:
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


@dataclass
class Librarian(Contents):
    """Adds, refreshes and removes titles."""

    provider: TmdbClient

    def add(self, kind: Any, tmdb_id: Any, **options: Any) -> AddReport:
        """Add a title."""
        return add_to_library(self.catalog, self.provider, kind, tmdb_id, **options)

    def refresh(self, **options: Any) -> RefreshReport:
        """Refresh what is on record."""
        return refresh(self.catalog, self.provider, **options)

    def cleanup(self, person_ids: Sequence[int] | None = None, **options: Any) -> CleanupReport:
        """Delete people to whom nothing refers."""
        return cleanup_people(self.catalog, person_ids, **options)

    def remove(self, kind: Any, tmdb_id: int) -> RemoveReport:
        """Remove a title."""
        return remove_from_library(self.catalog, kind, tmdb_id)
