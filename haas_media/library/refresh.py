"""Reading again what has changed at TMDb."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from haas_media.catalog.models import Movie, Season, Show, title_model
from haas_media.catalog.store_titles import store_title
from haas_media.library import named
from haas_media.library.add import read_seasons
from haas_media.library.people import PeopleReport, fetch_people, fetch_people_of_titles
from haas_media.library.refresh_plan import make_plan, mark_current
from haas_media.markdown import Report, escaped, markdown_list
from haas_media.pool import map_unordered
from haas_media.progress import OnProgress, PhasedProgress
from haas_media.providers.records import (
    Gone,
    MovieRecord,
    ProviderUnreachable,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.library.refresh_plan import Plan
    from haas_media.providers.records import RecordKind, TitleKind
    from haas_media.providers.tmdb import TmdbClient

NAMES = {"movie": "movies", "tv": "shows", "person": "people"}
_COUNTED = ("known", "unchanged", "refreshed", "gone", "unusable", "unreachable")
# What each kind counts in the progress.
_SHARES: dict[RecordKind, float] = {"movie": 0.3, "tv": 0.4, "person": 0.3}
_THREADS = 4
_Read = tuple[MovieRecord | ShowRecord, list[SeasonRecord]]


@dataclass(frozen=True, slots=True)
class KindReport:
    """What a refresh did with movies, shows or people.

    ``unchanged`` are current without having been read. ``gone`` are no longer at TMDb and are
    kept, as are ``unusable`` ones; ``unreachable`` ones are read by the next refresh. Each says
    which title or person it is, and why.
    """

    kind: RecordKind
    known: int = 0
    unchanged: int = 0
    refreshed: int = 0
    gone: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    note: str = ""

    def count(self, name: str) -> int:
        """Return one of the counts, or the length of one of the lists."""
        value = getattr(self, name)
        return value if isinstance(value, int) else len(value)


@dataclass(frozen=True, slots=True)
class RefreshReport(Report):
    """What a refresh did. ``people_added``: details read of people new to refreshed titles."""

    heading = "Metadata refresh"

    kinds: tuple[KindReport, ...] = ()
    people_added: PeopleReport = field(default_factory=PeopleReport)
    requests: int = 0
    duration: float = 0.0

    def total(self, name: str) -> int:
        """Sum up one count over movies, shows and people."""
        return sum(kind.count(name) for kind in self.kinds)

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        refreshed = {NAMES[kind.kind]: kind.refreshed for kind in self.kinds}
        return {
            **{name: self.total(name) for name in _COUNTED},
            **refreshed,
            "people_added": self.people_added.fetched,
            "requests": self.requests,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return one row for movies, shows and people each."""
        return [
            {"kind": NAMES[kind.kind], **{name: kind.count(name) for name in _COUNTED}}
            for kind in self.kinds
        ]

    def summary(self) -> str:
        """Say in a sentence what the refresh did."""
        did = ", ".join(f"{k.refreshed} of {k.known} {NAMES[k.kind]}" for k in self.kinds)
        return (
            f"Refreshed {did} with {counted(self.requests, 'request')} in {self.duration:.1f} s; "
            f"{self.total('unchanged')} had not changed."
        )

    def before_table(self) -> list[str]:
        """Note what was odd about TMDb's lists of changes."""
        return [f"- {escaped(kind.note)}." for kind in self.kinds if kind.note]

    def after_table(self) -> list[str]:
        """List what could not be refreshed."""
        lines: list[str] = []
        for title, name in (
            ("No longer at TMDb, kept here", "gone"),
            ("Not usable as TMDb has them, kept as they were", "unusable"),
            ("Not reached, read by the next refresh", "unreachable"),
        ):
            problems = [problem for kind in self.kinds for problem in getattr(kind, name)]
            lines += markdown_list(title, problems)
        later = [f"person {person_id}" for person_id in self.people_added.unreachable]
        return lines + markdown_list("New to titles and not reached, read by the next scan", later)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalog has of a title: what it is called, and which seasons."""

    title: str
    year: int | None
    seasons: frozenset[int] = frozenset()
    listed: frozenset[int] = frozenset()
    detailed: bool = True

    def seasons_to_read(self, show: ShowRecord) -> list[int]:
        """Return those that the catalog has, and new ones if it has every old one."""
        named = set(show.season_numbers)
        if "season_numbers" in show.missing:
            named |= self.listed
        wanted = self.seasons & named
        # A show that is announced has no season yet.
        has_all = self.listed <= self.seasons if self.listed else not self.seasons
        if has_all and self.detailed:
            wanted |= named - self.listed
        return sorted(wanted)


def refresh(
    catalog: Catalog,
    provider: TmdbClient,
    *,
    movies: bool = True,
    tv_shows: bool = True,
    people: bool = True,
    changed_only: bool = True,
    on_progress: OnProgress | None = None,
) -> RefreshReport:
    """Read titles and people again that have changed at TMDb since they were read.

    Each title is stored in a transaction of its own; killed in between, the next refresh does the
    rest. Titles that are gone from TMDb stay in the catalog. Of shows, the seasons that the catalog
    has are read; new ones too, if it has all that there were.

    Args:
        people: refresh people, and read details of those who are new.
        changed_only: ask for the lists of changes first, and read only what is in them; else
            read everything.

    Raises:
        ProviderUnreachable: not even a list of changes could be read.
        ProviderRefused: the credentials are not accepted.
    """
    started, requests = time.monotonic(), provider.requests_made
    wanted: dict[RecordKind, bool] = {"movie": movies, "tv": tv_shows, "person": people}
    kinds = [kind for kind in wanted if wanted[kind]]
    work = _Refresh(catalog, provider, changed_only, _phases(kinds, on_progress))
    reports = [work.people() if kind == "person" else work.titles(kind) for kind in kinds]
    work.progress.finish()
    return RefreshReport(
        kinds=tuple(reports),
        people_added=work.people_added,
        requests=provider.requests_made - requests,
        duration=time.monotonic() - started,
    )


def _phases(kinds: Sequence[RecordKind], on_progress: OnProgress | None) -> PhasedProgress:
    total = sum(_SHARES[kind] for kind in kinds)
    ends = list(accumulate((_SHARES[kind] / total for kind in kinds), initial=0.0))
    phases = {NAMES[kind]: (ends[place], ends[place + 1]) for place, kind in enumerate(kinds)}
    return PhasedProgress(on_progress, phases, every=0)


class _Refresh:
    """One refresh under way."""

    def __init__(
        self, catalog: Catalog, provider: TmdbClient, changed_only: bool, progress: PhasedProgress
    ) -> None:
        self._catalog = catalog
        self._provider = provider
        self._changed_only = changed_only
        self.progress = progress
        self.people_added = PeopleReport()

    def titles(self, kind: TitleKind) -> KindReport:
        """Refresh movies or shows."""
        plan = self._plan(kind)
        known = self._known(kind)
        failed: dict[type, list[str]] = {Gone: [], UnusableRecord: [], ProviderUnreachable: []}
        refreshed = 0
        read = partial(self._read, kind, known)
        for done, (tmdb_id, result) in enumerate(map_unordered(read, plan.wanted, _THREADS), 1):
            what = known.get(tmdb_id, _Known("", None))
            name = named(kind, tmdb_id, what.title, what.year)
            if not isinstance(result, Exception):
                refreshed += self._catalog.write(partial(_store, kind=kind, read=result))
                self.progress.counts["refreshed"] += 1
            elif type(result) in failed:
                failed[type(result)].append(f"{name}: {result}")
                self._settle(kind, tmdb_id, result)
            else:
                raise result
            self.progress.report(NAMES[kind], done / len(plan.wanted), name)
        return _report(kind, plan, refreshed, failed.values())

    def people(self) -> KindReport:
        """Refresh people, then read those who are new to titles."""
        plan = self._plan("person")
        report = fetch_people(
            self._catalog, self._provider, plan.wanted, on_progress=self._report_people(0.0, 0.5)
        )
        self.people_added = fetch_people_of_titles(
            self._catalog, self._provider, on_progress=self._report_people(0.5, 1.0)
        )
        failed = (
            _people(report.gone, "TMDb has no such person any more"),
            _people(report.unusable, "TMDb's record of them cannot be used"),
            _people(report.unreachable, "TMDb did not answer"),
        )
        return _report("person", plan, report.fetched, failed)

    def _report_people(self, begin: float, end: float) -> OnProgress:
        return lambda done: self.progress.report(
            "people", begin + (end - begin) * done.fraction, done.current
        )

    def _plan(self, kind: RecordKind) -> Plan:
        self.progress.report(NAMES[kind], 0.0, "what has changed")
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
        return read_seasons(self._provider, show, wanted)

    def _settle(self, kind: TitleKind, tmdb_id: int, error: Exception) -> None:
        """Note that TMDb did answer, though not with a title; the unreachable stay as they are."""
        if not isinstance(error, ProviderUnreachable):
            now = dt.datetime.now(dt.UTC)
            self._catalog.write(partial(mark_current, kind=kind, ids=[tmdb_id], now=now))


def _store(session: Session, kind: TitleKind, read: _Read) -> int:
    """Store what was read, unless the title was removed meanwhile; return how many were stored."""
    record, seasons = read
    model = title_model(kind)
    held = select(model.id).where(model.tmdb_id == record.tmdb_id).with_for_update()
    if session.scalar(held) is None:
        return 0
    store_title(session, record, seasons)
    return 1


def _known_movies(session: Session) -> dict[int, _Known]:
    query = select(Movie.tmdb_id, Movie.title, Movie.year).where(Movie.tmdb_id.is_not(None))
    return {row[0]: _Known(row[1], row[2]) for row in session.execute(query) if row[0]}


def _known_shows(session: Session) -> dict[int, _Known]:
    seasons: dict[int, set[int]] = {}
    for show_id, number in session.execute(select(Season.show_id, Season.number)):
        seasons.setdefault(show_id, set()).add(number)
    detailed = Show.details_fetched_at.is_not(None)
    query = select(Show.tmdb_id, Show.id, Show.title, Show.year, Show.season_numbers, detailed)
    return {
        tmdb_id: _Known(title, year, frozenset(seasons.get(row_id, ())), frozenset(listed), read)
        for tmdb_id, row_id, title, year, listed, read in session.execute(query)
        if tmdb_id
    }


def _people(ids: Iterable[int], reason: str) -> list[str]:
    return [f"person {person_id}: {reason}" for person_id in ids]


def _report(
    kind: RecordKind, plan: Plan, refreshed: int, failed: Iterable[Iterable[str]]
) -> KindReport:
    """Say what became of a plan; ``failed`` are those gone, unusable and unreachable."""
    gone, unusable, unreachable = map(tuple, failed)
    return KindReport(
        kind, plan.known, plan.unchanged, refreshed, gone, unusable, unreachable, plan.note
    )
