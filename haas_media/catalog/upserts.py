"""INSERT ... ON CONFLICT, and many rows by one UPDATE, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import cast, column, update, values
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Table
    from sqlalchemy.orm import Session


def insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT of the session's own dialect."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def update_many(
    session: Session, table: Table, rows: Sequence[dict[str, Any]], by: Collection[str] = ("id",)
) -> None:
    """Update rows of a table by one statement: one for each would be a round trip for each.

    Args:
        session: an open session.
        table: the table.
        rows: columns and what they are to hold, in the same order for all rows.
        by: those columns by which a row is found, and which stay as they are.
    """
    if not rows:
        return
    columns = [column(name, table.c[name].type) for name in rows[0]]
    new = values(*columns, name="new").data([tuple(row.values()) for row in rows]).cte("new")
    wanted: dict[str, Any] = {name: new.c[name] for name in rows[0] if name not in by}
    if session.get_bind().dialect.name == "postgresql":  # takes NULLs alone for text
        wanted = {name: cast(value, value.type) for name, value in wanted.items()}
    found = (table.c[name] == new.c[name] for name in by)
    session.connection().execute(update(table).where(*found).values(wanted))


def table_of(model: Any) -> Table:
    """Return the table behind a model class."""
    table: Table = model.__table__
    return table
