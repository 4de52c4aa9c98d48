"""What SQLite and PostgreSQL do in their own ways, the same on both: columns, upserts, updates."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ARRAY, DateTime, Text, TypeDecorator, bindparam, func, select, update

from haas_media.wording import clean_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Select, Table
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import Session

T = TypeVar("T")
_SURROGATES_OR_PRIVATE = re.compile(r"[\ud800-\udfff\uf780-\uf7ff]+")
_PRIVATE_RUN = re.compile(r"[\uf780-\uf7ff]+")


def to_stored_path(path: str) -> str:
    """Turn a path as Python has it into text that every database takes.

    A byte that is not UTF-8 (a lone surrogate in Python) becomes the private character
    U+F700 + byte. Characters of that range themselves are spelt byte by byte in the same way,
    so that no two paths become one.
    """
    if path.isascii():
        return path
    return _SURROGATES_OR_PRIVATE.sub(
        lambda run: "".join(chr(0xF700 + byte) for byte in os.fsencode(run[0])), path
    )


def from_stored_path(stored: str) -> str:
    """Undo ``to_stored_path``."""
    if stored.isascii():
        return stored
    return _PRIVATE_RUN.sub(
        lambda run: os.fsdecode(bytes(ord(char) - 0xF700 for char in run[0])), stored
    )


class FsPath(TypeDecorator[str]):
    """A path as the file system has it, byte for byte, even if it is not UTF-8."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Encode for the database."""
        return None if value is None else to_stored_path(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Decode from the database."""
        return None if value is None else from_stored_path(value)


class CleanText(TypeDecorator[str]):
    """Text from outside, without the characters that no database takes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean on the way in."""
        return None if value is None else clean_text(value)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware time, always UTC; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Turn into UTC; naive for SQLite."""
        if value is None:
            return None
        utc = value.astimezone(dt.UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """Return as aware UTC."""
        if value is None:
            return None
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)  # type: ignore[no-any-return]


def insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT of the session's own dialect."""
    if _is_sqlite(session):
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # with all of its drivers: it takes a while

    return postgresql.insert(table)


def upsert(
    session: Session,
    table: Table,
    rows: Sequence[dict[str, Any]],
    by: Sequence[str],
    *,
    keep: Collection[str] = (),
    index_where: Any = None,
) -> dict[tuple[Any, ...], int]:
    """Insert rows, or update those that are there; return their ids by their keys.

    Args:
        rows: columns and values, in the same order for all rows.
        by: the columns of a unique index, by which a row is known.
        keep: further columns that an update leaves as they are.
        index_where: the condition of that index, if it is a partial one.
    """
    if not rows:
        return {}
    in_arrays = not _is_sqlite(session)
    statement = insert(session, table)
    if in_arrays:
        statement = statement.from_select(list(rows[0]), _unnest(table, rows))
    changed = [name for name in rows[0] if name not in (*by, *keep)] or by
    statement = statement.on_conflict_do_update(
        index_elements=by,
        index_where=index_where,
        set_={name: statement.excluded[name] for name in changed},
    )
    keys = [table.c[name] for name in by]
    returning = statement.returning(*keys, table.c.id)
    found = session.execute(returning) if in_arrays else session.execute(returning, rows)
    return {tuple(key): row_id for *key, row_id in found}


def next_ids(session: Session, table: Table, count: int) -> Sequence[int]:
    """Return ids for new rows, so that many can be inserted at once and none is read again."""
    if _is_sqlite(session):  # which has one writer at a time
        last = session.scalar(select(func.max(table.c.id))) or 0
        return range(last + 1, last + 1 + count)
    sequence = func.pg_get_serial_sequence(table.name, "id")
    numbers = func.generate_series(1, count).table_valued("number")
    return session.scalars(select(func.nextval(sequence)).select_from(numbers)).all()


def insert_many(
    session: Session,
    table: Table,
    rows: Sequence[dict[str, Any]],
    *,
    but_those_there: bool = False,
) -> None:
    """Insert rows at once: columns and values, the same columns for all rows.

    Args:
        but_those_there: leave out rows that are there already, instead of an error.
    """
    statement = insert(session, table)
    if but_those_there:
        statement = statement.on_conflict_do_nothing()
    if rows and _is_sqlite(session):
        session.connection().execute(statement, rows)
    elif rows:
        session.execute(statement.from_select(list(rows[0]), _unnest(table, rows)))


def update_many(
    session: Session, table: Table, rows: Sequence[dict[str, Any]], by: Collection[str] = ("id",)
) -> None:
    """Update rows of a table, those with the same columns at once.

    Args:
        rows: columns and what they are to hold.
        by: those columns by which a row is found, and which stay as they are.
    """
    alike = defaultdict(list)
    for row in rows:
        alike[tuple(row)].append(row)
    for some in alike.values():
        _update_alike(session, table, some, by)


def _update_alike(
    session: Session, table: Table, rows: Sequence[dict[str, Any]], by: Collection[str]
) -> None:
    names = [name for name in rows[0] if name not in by]
    if _is_sqlite(session):
        found = (table.c[name] == bindparam(f"by_{name}") for name in by)
        wanted: dict[str, Any] = {name: bindparam(name) for name in names}
        values = [{f"by_{k}" if k in by else k: v for k, v in row.items()} for row in rows]
        session.connection().execute(update(table).where(*found).values(wanted), values)
    else:
        new = _unnest(table, rows).subquery()
        found = (table.c[name] == new.c[name] for name in by)
        session.connection().execute(
            update(table).where(*found).values({name: new.c[name] for name in names})
        )


def _unnest(table: Table, rows: Sequence[dict[str, Any]]) -> Select[Any]:
    """Return rows as PostgreSQL takes them fastest: an array for each column.

    Values in the statement itself make it as long as they are many, and the driver reads it anew
    each time; a statement for each row waits for the server to begin each.
    """
    return select(
        *(
            func.unnest(
                bindparam(
                    None, [row[name] for row in rows], ARRAY(table.c[name].type, dimensions=1)
                ),
                type_=table.c[name].type,
            ).label(name)
            for name in rows[0]
        )
    )


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def chunked(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of that size at the most."""
    return (items[start : start + size] for start in range(0, len(items), size))


def columns_of(record: Any, table: Table) -> dict[str, Any]:
    """Return the fields of a dataclass for which a table has columns of the same names."""
    names = (field.name for field in fields(record) if field.name in table.c)
    return {name: getattr(record, name) for name in names}


def table_of(model: Any) -> Table:
    """Return the table behind a model class."""
    table: Table = model.__table__
    return table
