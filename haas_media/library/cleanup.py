"""Deleting people to whom no title refers any more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, true

from haas_media.catalog.dialects import chunked
from haas_media.catalog.library_rows import count
from haas_media.catalog.models import Credit, Person
from haas_media.markdown import Report
from haas_media.progress import OnProgress, Progress
from haas_media.wording import counted, counted_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    # A condition on a column that holds a person's id.
    Who = Callable[["InstrumentedAttribute[int]"], ColumnElement[bool]]

    from sqlalchemy.orm import InstrumentedAttribute, Session

    from haas_media.catalog.opening import Catalog

# People looked at in one transaction: a part of a second, so that a scan gets in between.
_BATCH = 50_000
_IDS_PER_QUERY = 5000


@dataclass(frozen=True, slots=True)
class CleanupReport(Report):
    """How many people were looked at, and how many of them no title referred to."""

    heading = "Person cleanup"

    checked: int = 0
    deleted: int = 0
    duration: float = 0.0

    @property
    def kept(self) -> int:
        """People who are still there."""
        return self.checked - self.deleted

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        return {"checked": self.checked, "deleted": self.deleted, "kept": self.kept}

    def summary(self) -> str:
        """Say in a sentence what was done."""
        deleted = counted(
            self.deleted, "to whom no title refers was", "to whom no title refers were"
        )
        return (
            f"Looked at {counted_people(self.checked)} in {self.duration:.1f} s: "
            f"{deleted} deleted, {self.kept} kept."
        )


def cleanup_people(
    catalog: Catalog,
    person_ids: Sequence[int] | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> CleanupReport:
    """Delete those people to whom no movie, show or episode refers, as cast or as crew.

    Works in batches of short transactions; killed in between, the next run does the rest. Safe
    while others add credits: whoever is being credited at this moment is kept.

    Args:
        person_ids: only these; those that are not in the catalog do not matter. None: everybody.
    """
    started = time.monotonic()
    if person_ids is None:
        total, batches = _count(catalog, true()), _ranges(catalog)
    else:
        total, batches = _these(person_ids)
    checked = deleted = done = 0
    for size, who in batches:
        checked += size if person_ids is None else _count(catalog, who(Person.id))
        deleted += catalog.write(partial(_delete_orphans, who=who))
        done += size
        if on_progress:
            counts = {"checked": checked, "deleted": deleted}
            on_progress(Progress(min(1.0, done / max(total, 1)), counts=counts, phase="people"))
    return CleanupReport(checked, deleted, time.monotonic() - started)


def _count(catalog: Catalog, condition: ColumnElement[bool]) -> int:
    with catalog.reading() as session:
        return count(session, Person, condition)


def _ranges(catalog: Catalog) -> Iterator[tuple[int, Who]]:
    """Yield batches of everybody, by ranges of ids."""
    low: int | None = 0
    while low is not None:
        with catalog.reading() as session:
            ids = select(Person.id).where(Person.id > low).order_by(Person.id).limit(_BATCH)
            batch = ids.subquery()
            size, high = session.execute(select(func.count(), func.max(batch.c.id))).one()
        if high is not None:
            yield size, partial(_between, low=low, high=high)
        low = high


def _between(column: InstrumentedAttribute[int], low: int, high: int) -> ColumnElement[bool]:
    return and_(column > low, column <= high)


def _these(person_ids: Sequence[int]) -> tuple[int, Iterator[tuple[int, Who]]]:
    ids = sorted(set(person_ids))
    batches = ((len(chunk), partial(_among, ids=chunk)) for chunk in chunked(ids, _IDS_PER_QUERY))
    return len(ids), batches


def _among(column: InstrumentedAttribute[int], ids: Sequence[int]) -> ColumnElement[bool]:
    return column.in_(ids)


def _delete_orphans(session: Session, who: Who) -> int:
    """Delete the orphans of a batch; return how many they were."""
    if session.get_bind().dialect.name == "sqlite":
        # SQLite has one writer at a time, so nothing can come in between.
        credited = exists().where(Credit.person_id == Person.id)
        return _deleted(session, and_(who(Person.id), ~credited))
    # The condition on the credits is implied; said again, it lets the planner read only these.
    credited = exists().where(Credit.person_id == Person.id, who(Credit.person_id))
    # Who credits somebody holds that person's row until the end of the transaction. Rows that are
    # held are left out, so that this never waits for a writer that waits for it. If somebody was
    # credited after the statement had begun, the foreign key refuses it, and it is tried again.
    free = select(Person.id).where(who(Person.id), ~credited).with_for_update(skip_locked=True)
    return _deleted(session, Person.id.in_(select(free.cte("free").c.id)))


def _deleted(session: Session, condition: ColumnElement[bool]) -> int:
    result: Any = session.execute(
        delete(Person).where(condition).execution_options(synchronize_session=False)
    )
    return int(result.rowcount)
