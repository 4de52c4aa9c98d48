"""Which titles and people a refresh has to read again, from TMDb's change lists.

Each record knows since when it is current (``looked_up_at`` of titles, ``details_fetched_at`` of
people). A change list is asked for from the oldest of these times on, and what is not in it is
current from then on. So there is no gap, whatever was unreachable or however a run ended: what
was not read keeps its old time, and the next list begins there.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select, update

from haas_media.catalog.dialects import chunked
from haas_media.catalog.models import Movie, Person, Season, Show, title_model
from haas_media.providers.records import Gone, UnusableRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import RecordKind
    from haas_media.providers.tmdb import TmdbClient

# Lists of a longer time cost more than reading the few records that are so old.
_OLDEST = dt.timedelta(weeks=8)
# Days have no time zone, clocks differ, and lists lag a little.
_OVERLAP = dt.timedelta(days=1)
_IDS_PER_QUERY = 5000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be read of one kind: ``wanted`` are TMDb ids; ``note`` says why it is so many."""

    known: int
    wanted: tuple[int, ...]
    note: str = ""

    @property
    def unchanged(self) -> int:
        """How many are current without being read."""
        return self.known - len(self.wanted)


def make_plan(
    catalog: Catalog, provider: TmdbClient, kind: RecordKind, *, changed_only: bool
) -> Plan:
    """Say what is to be read again, asking for change lists if only changes are wanted.

    What has not changed is marked as current.

    Args:
        changed_only: whether what has not changed is left alone.

    Raises:
        ProviderUnreachable: the change list could not be read.
        ProviderRefused: the credentials are not accepted.
    """
    now = dt.datetime.now(dt.UTC)
    with catalog.reading() as session:
        current_since = _current_since(session, kind)
        cost = _requests_for_all(session, kind, len(current_since))
    everything = tuple(sorted(current_since))
    # What a clock that was ahead has written tells nothing, so that it is read.
    trusted = (now - _OLDEST, now + _OVERLAP)
    listed = {i for i, since in current_since.items() if since and trusted[0] < since < trusted[1]}
    if not changed_only or not listed:
        return Plan(len(everything), everything)
    oldest = min(since for i, since in current_since.items() if since and i in listed)
    start, end = (oldest - _OVERLAP).date(), (now + _OVERLAP).date()
    try:
        changed = provider.changes(kind, start, end, most_pages=cost)
    except (Gone, UnusableRecord) as refused:
        note = f"The list of changes cannot be had, so everything was read ({refused})"
        return Plan(len(everything), everything, note)
    if changed is None:
        note = f"The list of changes since {oldest:%Y-%m-%d} is longer than reading everything"
        return Plan(len(everything), everything, note)
    unchanged = sorted(listed - changed)
    for chunk in chunked(unchanged, _IDS_PER_QUERY):
        catalog.write(partial(mark_current, kind=kind, ids=chunk, now=now))
    wanted = tuple(sorted(current_since.keys() - set(unchanged)))
    return Plan(len(everything), wanted)


def _current_since(session: Session, kind: RecordKind) -> dict[int, dt.datetime | None]:
    if kind == "person":
        # Those without details are not read by a refresh, but with their titles.
        query = select(Person.id, Person.details_fetched_at).where(
            Person.details_fetched_at.is_not(None)
        )
        return {row[0]: row[1] for row in session.execute(query)}
    model = title_model(kind)
    # Known by its id alone, so nothing has been read of it yet.
    since = case((model.details_fetched_at.is_not(None), model.looked_up_at))
    query = select(model.tmdb_id, since).where(model.tmdb_id.is_not(None))
    return {row[0]: row[1] for row in session.execute(query)}


def _requests_for_all(session: Session, kind: RecordKind, titles: int) -> int:
    seasons = session.scalar(select(func.count()).select_from(Season)) if kind == "tv" else 0
    return max(1, titles + (seasons or 0))


def mark_current(session: Session, kind: RecordKind, ids: Sequence[int], now: dt.datetime) -> None:
    """Note that these records are current as of a time."""
    model: Any = {"movie": Movie, "tv": Show, "person": Person}[kind]
    key = model.id if kind == "person" else model.tmdb_id
    column = "details_fetched_at" if kind == "person" else "looked_up_at"
    # Taken in the order in which every writer takes them.
    rows = select(model.id).where(key.in_(ids)).order_by(model.id).with_for_update()
    held = session.scalars(rows).all()
    session.execute(
        update(model)
        .where(model.id.in_(held))
        .values({column: now})
        .execution_options(synchronize_session=False)
    )
