"""Copies a catalog into an empty one: from SQLite to PostgreSQL, or back.

    python -m deployments.copy_catalog postgresql://haas:PASSWORD@host/catalog

The catalog that is read is that of the settings. Nothing in it is changed; no run may write to it
meanwhile. Either everything is copied or nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

ROWS_AT_ONCE = 1000


def copy_catalog(source_url: str, target_url: str) -> dict[str, int]:
    """Copy every row; return how many by table.

    Args:
        source_url: the catalog to read.
        target_url: a database that is there; its tables are made if they are not.

    Raises:
        CatalogError: one of them cannot be opened, or the target holds something already.
    """
    from sqlalchemy import func, select

    from haas_media.catalog import CatalogError, open_catalog
    from haas_media.catalog.models import Base

    tables = Base.metadata.sorted_tables  # those that others refer to come first
    with (
        open_catalog(source_url) as source,
        open_catalog(target_url) as target,
        source.reading() as reading,
        target.session() as writing,
    ):
        inside = writing.connection()
        for table in tables:
            if inside.scalar(select(func.count()).select_from(table)):
                raise CatalogError(
                    f"The catalog to copy to has rows in {table.name}. Give an empty database."
                )
        return {table.name: _copy(table, reading.connection(), inside) for table in tables}


def _copy(table: Table, source: Connection, target: Connection) -> int:
    from sqlalchemy import insert, select

    count = 0
    found = source.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table))
    for rows in found.mappings().partitions(ROWS_AT_ONCE):
        target.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    _continue_numbers(table, target)
    return count


def _continue_numbers(table: Table, target: Connection) -> None:
    """Let PostgreSQL number new rows after those that were copied with their numbers."""
    from sqlalchemy import func, select

    column = table.autoincrement_column
    if column is None or target.dialect.name != "postgresql":
        return
    highest = target.scalar(select(func.max(column)))
    sequence = target.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
    if highest is not None and sequence is not None:
        target.execute(select(func.setval(sequence, highest)))


def main() -> None:
    """Copy the catalog of the settings to the address on the command line."""
    from haas_media.catalog import CatalogError
    from haas_media.settings import SettingsError
    from haas_media.settings_sources import load_settings

    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("Usage: python -m deployments.copy_catalog postgresql://user:password@host/name")
    try:
        copied = copy_catalog(load_settings().database_url, sys.argv[1])
    except (CatalogError, SettingsError) as error:
        sys.exit(str(error))
    for table, count in copied.items():
        print(f"{table:<24}{count:>10}")  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
