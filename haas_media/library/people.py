"""Details of people, read after the titles that they have a part in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select, update

from haas_media.catalog.dialects import chunked, columns_of, table_of, update_many
from haas_media.catalog.models import Credit, Movie, Person, Show
from haas_media.pool import map_unordered
from haas_media.progress import OnProgress, Progress
from haas_media.providers.records import Gone, PersonRecord, ProviderUnreachable, UnusableRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.tmdb import TmdbClient

CAST_PER_TITLE = 20
CREW_PER_TITLE = 12

# People of one transaction: what a killed run has to read again at the most.
_BATCH = 50
_IDS_PER_QUERY = 5000
_NO_ORDER = 1_000_000


@dataclass(frozen=True, slots=True)
class PeopleReport:
    """What became of reading people's details.

    ``unreachable`` are tried again by the next run; ``gone`` and ``unusable`` are kept with what
    their credits say of them.
    """

    fetched: int = 0
    gone: tuple[int, ...] = ()
    unusable: tuple[int, ...] = ()
    unreachable: tuple[int, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the counts, flat, for the attributes of a span."""
        return {
            "people": self.fetched,
            "people_gone": len(self.gone),
            "people_unusable": len(self.unusable),
            "people_unreachable": len(self.unreachable),
        }


def wanted_people(
    catalog: Catalog, movie_ids: Collection[int] = (), show_ids: Collection[int] = ()
) -> list[int]:
    """Return the people of some titles whose details are to be read and are not known yet.

    That is for each movie and show the first 20 of the cast and 12 of the crew by the weight of
    their job, each once, in order of id.
    """
    found: set[int] = set()
    for column, ids in ((Credit.movie_id, movie_ids), (Credit.show_id, show_ids)):
        for chunk in chunked(sorted(ids), _IDS_PER_QUERY):
            with catalog.reading() as session:
                found |= set(session.scalars(_wanted_query(column, chunk)))
    return sorted(found)


def _wanted_query(column: Any, ids: Sequence[int]) -> Select[tuple[int]]:
    title = (Credit.movie_id, Credit.show_id, Credit.kind)
    importance = case(
        (Credit.kind == "cast", func.coalesce(Credit.order, _NO_ORDER)), else_=Credit.weight
    )
    # Who has several parts in a title counts once, by the most important one.
    parts = select(
        *title,
        Credit.person_id,
        func.min(importance).label("importance"),
        func.min(Credit.id).label("listed"),
    ).where(column.in_(ids))
    part = parts.group_by(*title, Credit.person_id).subquery()
    rank = func.row_number().over(
        partition_by=(part.c.movie_id, part.c.show_id, part.c.kind),
        order_by=(part.c.importance, part.c.listed),
    )
    ranked = select(part.c.person_id, part.c.kind, rank.label("rank")).subquery()
    most = case((ranked.c.kind == "cast", CAST_PER_TITLE), else_=CREW_PER_TITLE)
    return (
        select(ranked.c.person_id)
        .distinct()
        .join(Person, Person.id == ranked.c.person_id)
        .where(ranked.c.rank <= most, Person.details_fetched_at.is_(None))
    )


def fetch_people_of_titles(
    catalog: Catalog,
    provider: TmdbClient,
    movie_ids: Collection[int] | None = None,
    show_ids: Collection[int] | None = None,
    *,
    threads: int = 4,
    on_progress: OnProgress | None = None,
) -> PeopleReport:
    """Read the details of the people who matter in some titles, and mark these titles as done.

    Titles stay unmarked as long as somebody could not be reached.

    Args:
        movie_ids: rows of movies; with neither of the two given, every title that is not marked.
        threads: requests under way at once.

    Raises:
        ProviderRefused: the provider refuses the credentials; what was read is stored.
    """
    started = dt.datetime.now(dt.UTC)
    if movie_ids is None and show_ids is None:
        movie_ids, show_ids = _unmarked(catalog, Movie), _unmarked(catalog, Show)
    movie_ids, show_ids = sorted(movie_ids or ()), sorted(show_ids or ())
    wanted = wanted_people(catalog, movie_ids, show_ids)
    report = fetch_people(catalog, provider, wanted, threads=threads, on_progress=on_progress)
    if not report.unreachable:
        for model, ids in ((Movie, movie_ids), (Show, show_ids)):
            for chunk in chunked(ids, _IDS_PER_QUERY):
                catalog.write(partial(_mark, model=model, ids=chunk, started=started))
    return report


def _unmarked(catalog: Catalog, model: type[Movie | Show]) -> list[int]:
    with catalog.reading() as session:
        return list(
            session.scalars(
                select(model.id).where(
                    model.people_fetched_at.is_(None), model.details_fetched_at.is_not(None)
                )
            )
        )


def _mark(
    session: Session, model: type[Movie | Show], ids: Sequence[int], started: dt.datetime
) -> None:
    # Not those that were stored anew meanwhile: their credits may be others.
    session.execute(
        update(model)
        .where(model.id.in_(ids), model.details_fetched_at <= started)
        .values(people_fetched_at=dt.datetime.now(dt.UTC))
    )


def fetch_people(
    catalog: Catalog,
    provider: TmdbClient,
    person_ids: Iterable[int],
    *,
    threads: int = 4,
    on_progress: OnProgress | None = None,
) -> PeopleReport:
    """Read people's details and store them, some at a time.

    Args:
        threads: requests under way at once.

    Raises:
        ProviderRefused: the provider refuses the credentials; what was read is stored.
    """
    ids = list(dict.fromkeys(person_ids))
    failed: dict[type, list[int]] = {Gone: [], UnusableRecord: [], ProviderUnreachable: []}
    fetched = 0
    records: list[PersonRecord] = []
    settled: list[int] = []

    def store() -> None:
        if records or settled:
            catalog.write(partial(store_people, records=[*records], settled=[*settled]))
            records.clear()
            settled.clear()

    try:
        for done, (person_id, answer) in enumerate(map_unordered(provider.person, ids, threads), 1):
            if isinstance(answer, PersonRecord):
                records.append(answer)
                fetched += 1
            elif type(answer) in failed:
                failed[type(answer)].append(person_id)
                settled += [person_id] * (not isinstance(answer, ProviderUnreachable))
            else:
                raise answer
            if len(records) + len(settled) >= _BATCH:
                store()
            if on_progress:
                name = answer.name if isinstance(answer, PersonRecord) else ""
                on_progress(Progress(done / len(ids), name, {"people": fetched}, "people"))
    finally:
        store()
    return PeopleReport(fetched, *(tuple(sorted(of_kind)) for of_kind in failed.values()))


def store_people(
    session: Session, records: Sequence[PersonRecord], settled: Sequence[int] = ()
) -> None:
    """Store details of people who are in the catalog; those who are not stay out.

    Args:
        settled: people of whom it tells nothing; they are not to be asked for again and again.
    """
    now = dt.datetime.now(dt.UTC)
    # In the order in which every writer takes people, so that no two wait for each other.
    everybody = sorted([*settled, *(record.person_id for record in records)])
    held = select(Person.id).where(Person.id.in_(everybody)).order_by(Person.id).with_for_update()
    session.execute(held)
    table, rows = table_of(Person), []
    for record in records:
        told = {k: v for k, v in columns_of(record, table).items() if k not in record.missing}
        rows.append({"id": record.person_id, **told, "details_fetched_at": now})
    update_many(session, table, rows)
    update_many(session, table, [{"id": each, "details_fetched_at": now} for each in settled])
