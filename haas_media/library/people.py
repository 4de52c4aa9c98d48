"""Details of people, read after the titles that they have a part in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, select, update

from haas_media.catalog.models import Credit, Movie, Person, Show
from haas_media.catalog.upserts import table_of
from haas_media.progress import OnProgress, Progress
from haas_media.providers.records import (
    Gone,
    PersonRecord,
    ProviderUnreachable,
    UnusableRecord,
)
from haas_media.scan.pool import map_unordered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import Provider

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

    Args:
        catalog: an open catalog.
        movie_ids: rows of movies.
        show_ids: rows of shows.
    """
    found: set[int] = set()
    for column, ids in ((Credit.movie_id, movie_ids), (Credit.show_id, show_ids)):
        for chunk in chunked(sorted(ids), _IDS_PER_QUERY):
            found |= _wanted_of(catalog, column, chunk)
    return sorted(found)


def _wanted_of(catalog: Catalog, column: Any, ids: Sequence[int]) -> set[int]:
    with catalog.reading() as session:
        return set(session.scalars(_wanted_query(column, ids)))


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
    provider: Provider,
    movie_ids: Collection[int] | None = None,
    show_ids: Collection[int] | None = None,
    *,
    threads: int = 4,
    on_progress: OnProgress | None = None,
) -> PeopleReport:
    """Read the details of the people who matter in some titles, and mark these titles as done.

    Titles stay unmarked as long as somebody could not be reached.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        movie_ids: rows of movies; with neither of the two given, every title that is not marked.
        show_ids: rows of shows.
        threads: requests under way at once.
        on_progress: told after each person.

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
        for chunk in chunked(movie_ids, _IDS_PER_QUERY):
            catalog.write(partial(_mark, model=Movie, ids=chunk, started=started))
        for chunk in chunked(show_ids, _IDS_PER_QUERY):
            catalog.write(partial(_mark, model=Show, ids=chunk, started=started))
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
    provider: Provider,
    person_ids: Iterable[int],
    *,
    threads: int = 4,
    on_progress: OnProgress | None = None,
) -> PeopleReport:
    """Read people's details and store them, some at a time.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        person_ids: whom to ask for.
        threads: requests under way at once.
        on_progress: told after each person.

    Raises:
        ProviderRefused: the provider refuses the credentials; what was read is stored.
    """
    ids = list(dict.fromkeys(person_ids))
    outcome = _Outcome(catalog)
    try:
        for done, (person_id, result) in enumerate(map_unordered(provider.person, ids, threads), 1):
            outcome.take(person_id, result)
            if on_progress:
                name = result.name if isinstance(result, PersonRecord) else ""
                counts = {"people": outcome.fetched}
                on_progress(Progress(done / len(ids), name, counts, "people"))
    finally:
        outcome.store()
    return outcome.report()


class _Outcome:
    """Collects what is read of people, and stores it batch by batch."""

    def __init__(self, catalog: Catalog) -> None:
        self.fetched = 0
        self._catalog = catalog
        self._told: list[PersonRecord] = []
        self._not_told: dict[str, list[int]] = {"gone": [], "unusable": [], "unreachable": []}
        self._settled: list[int] = []

    def take(self, person_id: int, result: PersonRecord | Exception) -> None:
        """Note what came of asking for a person.

        Raises:
            ProviderRefused: or any other error that is not about this person alone.
        """
        match result:
            case PersonRecord():
                self._told.append(result)
                self.fetched += 1
            case Gone():
                self._not_told["gone"].append(person_id)
                self._settled.append(person_id)
            case UnusableRecord():
                self._not_told["unusable"].append(person_id)
                self._settled.append(person_id)
            case ProviderUnreachable():
                self._not_told["unreachable"].append(person_id)
            case _:
                raise result
        if len(self._told) + len(self._settled) >= _BATCH:
            self.store()

    def store(self) -> None:
        """Write what has been collected."""
        if not (self._told or self._settled):
            return
        told, settled = tuple(self._told), tuple(self._settled)
        self._catalog.write(lambda session: store_people(session, told, settled))
        self._told.clear()
        self._settled.clear()

    def report(self) -> PeopleReport:
        """Return what came of it all."""
        lists = {kind: tuple(sorted(ids)) for kind, ids in self._not_told.items()}
        return PeopleReport(fetched=self.fetched, **lists)


def store_people(
    session: Session, records: Sequence[PersonRecord], settled: Sequence[int] = ()
) -> None:
    """Store details of people who are in the catalog; those who are not stay out.

    Args:
        session: an open session; the caller commits.
        records: what the provider tells.
        settled: people of whom it tells nothing; they are not to be asked for again and again.
    """
    now = dt.datetime.now(dt.UTC)
    table = table_of(Person)
    rows: dict[int, dict[str, Any]] = {
        person_id: {"_id": person_id, "details_fetched_at": now} for person_id in settled
    }
    told = {record.person_id: _row(record, now) for record in records}
    # In the order in which every writer takes people, so that no two wait for each other.
    for person_id in sorted(rows.keys() | told.keys()):
        row = told.get(person_id) or rows[person_id]
        names: dict[str, Any] = {name: bindparam(name) for name in row if name != "_id"}
        session.execute(update(table).where(table.c.id == bindparam("_id")).values(names), row)


def _row(record: PersonRecord, now: dt.datetime) -> dict[str, Any]:
    return {
        "_id": record.person_id,
        "name": record.name,
        "biography": record.biography,
        "birthday": record.birthday,
        "deathday": record.deathday,
        "place_of_birth": record.place_of_birth,
        "imdb_id": record.imdb_id,
        "profile_path": record.profile_path,
        "known_for": record.known_for,
        "details_fetched_at": now,
    }


def chunked(items: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    """Cut a sequence into pieces of that size at the most."""
    return (items[start : start + size] for start in range(0, len(items), size))
