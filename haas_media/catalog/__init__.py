"""The catalog: what the libraries hold, on SQLite or PostgreSQL.

Importing this package is cheap; SQLAlchemy is loaded when a catalog is opened. The tables are in
``models``; ``library_rows`` has the rows of libraries, folders and files, ``title_rows`` those of
titles as files name them; ``store_titles`` stores what a provider tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog

__all__ = ["CatalogError", "CatalogUnreachable", "is_out_of_reach", "open_catalog"]


class CatalogError(Exception):
    """The catalog cannot be used. The text is a sentence that says what to do."""


class CatalogUnreachable(CatalogError):
    """The catalog's database does not answer, or is busy; it may be well a little later."""


def open_catalog(database_url: str, *, read_only: bool = False) -> Catalog:
    """Open the catalog, making or migrating it where needed.

    Safe when several processes open the same catalog at once.

    Args:
        database_url: ``sqlite:///...`` or ``postgresql://...``.
        read_only: do without the right to write it, where it is there and of this version.

    Raises:
        CatalogUnreachable: the database does not answer, or is busy.
        CatalogError: the address is wrong, or the database is newer than this program.
    """
    from haas_media.catalog.opening import connect

    return connect(database_url, read_only=read_only)


def is_out_of_reach(error: BaseException | None) -> bool:
    """Say whether an error of the catalog, or of its database, may be gone a little later."""
    from sqlalchemy.exc import OperationalError

    from haas_media.catalog.opening import may_pass

    if isinstance(error, OperationalError):
        return may_pass(error)
    return isinstance(error, CatalogUnreachable)
