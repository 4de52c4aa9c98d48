"""INSERT ... ON CONFLICT, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.orm import Session


def insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT of the session's own dialect."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def table_of(model: Any) -> Table:
    """Return the table behind a model class."""
    table: Table = model.__table__
    return table
