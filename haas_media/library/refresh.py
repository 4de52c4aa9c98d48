"""Reading again what has changed at TMDb."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from haas_media.catalog.models import Movie, Season, Show
from haas_media.catalog.titles import store_movie, store_show
from haas_media.library.add import read_season
from haas_media.library.people import PeopleReport, fetch_people, fetch_people_of_titles
from haas_media.library.refresh_plan import make_plan, mark_current
from haas_media.library.refresh_report import NAMES, KindReport, Problem, RefreshReport
from haas_media.library.titles import TitleKind, listener, named
from haas_media.progress import OnProgress, Progress
from haas_media.providers.records import (
    Gone,
    MovieRecord,
    ProviderUnreachable,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)
from haas_media.scan.pool import map_unordered

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.library.refresh_plan import Plan, RefreshKind
    from haas_media.providers.records import Provider

_THREADS = 4
_Read = tuple[MovieRecord | ShowRecord, list[SeasonRecord]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalog has of a title: what it is called, and which seasons."""

    title: str
    year: int | None
    seasons: frozenset[int] = frozenset()
    listed: frozenset[int] = frozenset()

    def seasons_to_read(self, show: ShowRecord) -> list[int]:
        """Return those that the catalog has, and new ones if it has every old one."""
        wanted = self.seasons & set(show.season_numbers)
        if self.listed and self.listed <= self.seasons:
            wanted |= set(show.season_numbers) - self.listed
        return sorted(wanted)


def refresh(
    catalog: Catalog,
    provider: Provider,
    *,
    movies: bool = True,
    tv_shows: bool = True,
    people: bool = True,
    changed_only: bool = True,
    on_progress: OnProgress | None = None,
) -> RefreshReport:
    """Read titles and people again that have changed at TMDb since they were read.

    Each title is stored in a transaction of its own; killed in between, the next refresh does the
    rest. What is gone from TMDb stays in the catalog. Of shows, the seasons that the catalog has
    are read; new ones too, if it has all that there were.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        movies: refresh movies.
        tv_shows: refresh shows with their seasons and episodes.
        people: refresh people, and read details of those who are new.
        changed_only: ask for the lists of changes first, and read only what is in them; else
            read everything.
        on_progress: told after each title and person.

    Raises:
        ValueError: nothing is to be refreshed.
        ProviderUnreachable: not even a list of changes could be read.
        ProviderRefused: the credentials are not accepted.
    """
    if not (movies or tv_shows or people):
        raise ValueError("Choose at least one of movies, tv_shows and people to refresh.")
    started, requests = time.monotonic(), provider.requests_made
    work = _Refresh(catalog, provider, changed_only, listener(on_progress))
    chosen: list[tuple[RefreshKind, float]] = []
    chosen += [("movie", 0.3)] if movies else []
    chosen += [("tv", 0.4)] if tv_shows else []
    chosen += [("person", 0.3)] if people else []
    shares = sum(share for _, share in chosen)
    reports = []
    for kind, share in chosen:
        work.next_part(share / shares)
        reports.append(work.people() if kind == "person" else work.titles(kind))
    work.tell(1.0)
    return RefreshReport(
        kinds=tuple(reports),
        people_added=work.people_added,
        requests=provider.requests_made - requests,
        duration=time.monotonic() - started,
    )


class _Refresh:
    """One refresh under way."""

    def __init__(
        self, catalog: Catalog, provider: Provider, changed_only: bool, tell: OnProgress
    ) -> None:
        self._catalog = catalog
        self._provider = provider
        self._changed_only = changed_only
        self._tell = tell
        self._begin = self._end = 0.0
        self._phase = ""
        self._refreshed = 0
        self.people_added = PeopleReport()

    def next_part(self, share: float) -> None:
        """Begin the part of the work that is this share of all."""
        self._begin, self._end = self._end, min(1.0, self._end + share)

    def tell(self, share: float, current: str = "") -> None:
        """Tell how much of this part is done."""
        fraction = self._begin + (self._end - self._begin) * share
        counts = {"refreshed": self._refreshed}
        self._tell(Progress(fraction, current, counts, self._phase))

    def titles(self, kind: TitleKind) -> KindReport:
        """Refresh movies or shows."""
        plan = self._plan(kind)
        known = self._known(kind)
        problems: dict[type, list[Problem]] = {
            Gone: [],
            UnusableRecord: [],
            ProviderUnreachable: [],
        }
        refreshed = 0
        read = partial(self._read, kind, known)
        for done, (tmdb_id, result) in enumerate(map_unordered(read, plan.wanted, _THREADS), 1):
            what = known.get(tmdb_id, _Known("", None))
            name = named(kind, tmdb_id, what.title, what.year)
            if not isinstance(result, Exception):
                refreshed += self._catalog.write(partial(_store, kind=kind, read=result))
                self._refreshed += 1
            elif type(result) in problems:
                problems[type(result)].append(Problem(name, str(result)))
                self._settle(kind, tmdb_id, result)
            else:
                raise result
            self.tell(done / len(plan.wanted), name)
        return KindReport(
            kind=kind,
            known=plan.known,
            unchanged=plan.unchanged,
            refreshed=refreshed,
            gone=tuple(problems[Gone]),
            unusable=tuple(problems[UnusableRecord]),
            unreachable=tuple(problems[ProviderUnreachable]),
            note=plan.note,
        )

    def people(self) -> KindReport:
        """Refresh people, then read those who are new to titles."""
        plan = self._plan("person")
        report = fetch_people(
            self._catalog, self._provider, plan.wanted, on_progress=self._tell_people(0.0, 0.5)
        )
        self.people_added = fetch_people_of_titles(
            self._catalog, self._provider, on_progress=self._tell_people(0.5, 1.0)
        )
        return KindReport(
            kind="person",
            known=plan.known,
            unchanged=plan.unchanged,
            refreshed=report.fetched,
            gone=_people(report.gone, "TMDb has no such person any more"),
            unusable=_people(report.unusable, "TMDb's record has no name"),
            unreachable=_people(report.unreachable, "TMDb did not answer"),
            note=plan.note,
        )

    def _tell_people(self, begin: float, end: float) -> OnProgress:
        return lambda progress: self.tell(
            begin + (end - begin) * progress.fraction, progress.current
        )

    def _plan(self, kind: RefreshKind) -> Plan:
        self._phase = NAMES[kind]
        self.tell(0.0, "what has changed")
        try:
            return make_plan(self._catalog, self._provider, kind, changed_only=self._changed_only)
        except ProviderUnreachable as away:
            raise ProviderUnreachable(
                f"{away}. What was refreshed before is kept; the next refresh does the rest."
            ) from away

    def _known(self, kind: TitleKind) -> dict[int, _Known]:
        with self._catalog.reading() as session:
            return _known_movies(session) if kind == "movie" else _known_shows(session)

    def _read(self, kind: TitleKind, known: dict[int, _Known], tmdb_id: int) -> _Read:
        if kind == "movie":
            return self._provider.movie(tmdb_id), []
        show = self._provider.show(tmdb_id)
        wanted = known[tmdb_id].seasons_to_read(show) if tmdb_id in known else []
        seasons = [read_season(self._provider, tmdb_id, number) for number in wanted]
        return show, [season for season in seasons if season is not None]

    def _settle(self, kind: TitleKind, tmdb_id: int, error: Exception) -> None:
        """Note that TMDb did answer, though not with a title; the unreachable stay as they are."""
        if not isinstance(error, ProviderUnreachable):
            now = dt.datetime.now(dt.UTC)
            self._catalog.write(partial(mark_current, kind=kind, ids=[tmdb_id], now=now))


def _store(session: Session, kind: TitleKind, read: _Read) -> int:
    """Store what was read, unless the title was removed meanwhile; return how many were stored."""
    record, seasons = read
    model: Any = Movie if kind == "movie" else Show
    held = select(model.id).where(model.tmdb_id == record.tmdb_id).with_for_update()
    if session.scalar(held) is None:
        return 0
    if isinstance(record, MovieRecord):
        store_movie(session, record)
    else:
        store_show(session, record, seasons)
    return 1


def _known_movies(session: Session) -> dict[int, _Known]:
    query = select(Movie.tmdb_id, Movie.title, Movie.year).where(Movie.tmdb_id.is_not(None))
    return {row[0]: _Known(row[1], row[2]) for row in session.execute(query) if row[0]}


def _known_shows(session: Session) -> dict[int, _Known]:
    seasons: dict[int, set[int]] = {}
    for show_id, number in session.execute(select(Season.show_id, Season.number)):
        seasons.setdefault(show_id, set()).add(number)
    query = select(Show.tmdb_id, Show.id, Show.title, Show.year, Show.season_numbers)
    return {
        row[0]: _Known(row[2], row[3], frozenset(seasons.get(row[1], ())), frozenset(row[4] or ()))
        for row in session.execute(query)
        if row[0]
    }


def _people(ids: tuple[int, ...], reason: str) -> tuple[Problem, ...]:
    return tuple(Problem(f"person {person_id}", reason) for person_id in ids)
