"""The part of ``haas check`` that looks at the catalog. It changes nothing there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments import check_mistakes as mistakes
from deployments.check_mistakes import Finding
from deployments.filesystems import network_filesystem

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine


def catalog_finding(database_url: str) -> Finding:
    """Say whether the catalog can be used by this program.

    Raises:
        CatalogError: the address is wrong, the driver is missing, or the database cannot be
            reached, or not be written.
    """
    from haas_media.catalog import opening

    url = opening.read_url(database_url)
    shown = opening.shown(url)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        kind = network_filesystem(path)
        if kind is not None:
            return mistakes.SQLITE_ON_A_NETWORK.found(path=path, kind=kind)
        if not path.exists():
            return Finding("database", "right", f"{shown} (the first scan makes it)")
    return _compared(shown, _version(url))


def _compared(shown: str, version: str | None) -> Finding:
    """Compare the version of a catalog's tables, None without any, with this program's."""
    from haas_media.catalog.migrations import HEAD

    if version is None:
        return Finding("database", "right", f"{shown} (the first scan makes its tables)")
    if version > HEAD:  # four digits
        return mistakes.NEWER_CATALOG.found(url=shown, version=version)
    if version < HEAD:
        return mistakes.OLDER_CATALOG.found(url=shown, version=version)
    return Finding("database", "right", shown)


def _version(url: URL) -> str | None:
    """Read the version of the catalog's tables, without making or migrating any.

    Raises:
        CatalogError: the driver is missing, or the database cannot be reached or not be written.
    """
    from sqlalchemy.exc import DBAPIError

    from haas_media.catalog import CatalogError, opening

    engine = opening.plain_engine(url)
    try:
        found = opening.version(engine)
        if url.get_backend_name() != "sqlite":
            _try_to_write(engine, found)
    except DBAPIError as error:
        raise CatalogError(
            f"The catalog {opening.shown(url)} cannot be opened: {opening.first_line(error)}. "
            "Check the address in HAAS_DATABASE_URL and that the database is there and writable."
        ) from None
    else:
        return found
    finally:
        engine.dispose()


def _try_to_write(engine: Engine, version: str | None) -> None:
    """Begin to write and take it back: a server may be read-only, or the user without the right."""
    if version is None:
        statement = "CREATE TABLE haas_check ()"
    else:
        statement = "UPDATE libraries SET title = title WHERE false"
    with engine.connect() as connection:  # nothing is committed
        connection.exec_driver_sql(statement)
