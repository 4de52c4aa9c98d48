"""Adding a title by its TMDb id, with everything that belongs to it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from haas_media.catalog.models import Movie, Show
from haas_media.catalog.titles import store_movie, store_show
from haas_media.library.files import release_files
from haas_media.library.people import PeopleReport, fetch_people_of_titles
from haas_media.library.reports import markdown_list, markdown_table, plain_json
from haas_media.library.titles import (
    TitleKind,
    TitleUnknown,
    check_title,
    listener,
    named,
)
from haas_media.progress import OnProgress, Progress
from haas_media.providers.records import Gone, MovieRecord, ProviderUnreachable, SeasonRecord
from haas_media.wording import counted, counted_people

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import Provider, ShowRecord

# Titles count for this much of the progress, people for the rest, as in a scan.
_TITLE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class AddReport:
    """What was added. ``files`` are those that wait for the next scan to belong to it again."""

    kind: TitleKind
    tmdb_id: int
    title: str
    year: int | None
    new: bool
    seasons: int = 0
    episodes: int = 0
    credits: int = 0
    files: int = 0
    requests: int = 0
    duration: float = 0.0
    people: PeopleReport = field(default_factory=PeopleReport)

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        return {
            "titles": 1,
            "new": int(self.new),
            "seasons": self.seasons,
            "episodes": self.episodes,
            "credits": self.credits,
            "files": self.files,
            "requests": self.requests,
            **self.people.counts(),
        }

    def summary(self) -> str:
        """Say in a sentence what was done."""
        did = "Added" if self.new else "Renewed"
        parts = [named(self.kind, self.tmdb_id, self.title, self.year)]
        if self.kind == "tv":
            parts += [counted(self.seasons, "season"), counted(self.episodes, "episode")]
        parts += [
            counted(self.credits, "credit"),
            f"details of {counted_people(self.people.fetched)}",
        ]
        asked = counted(self.requests, "request")
        return f"{did} {', '.join(parts)}; {asked} in {self.duration:.1f} s."

    def table(self) -> list[dict[str, Any]]:
        """Return one row."""
        title = f"{self.title} ({self.year})" if self.year else self.title
        return [{"title": title, "kind": self.kind, "tmdb_id": self.tmdb_id, **self.counts()}]

    def to_markdown(self) -> str:
        """Return the report as Markdown, for an artifact or a terminal."""
        later = [str(person_id) for person_id in self.people.unreachable]
        lines = ["# Added to the library", "", self.summary(), "", *markdown_table(self.table())]
        if self.files:
            files = counted(self.files, "file waits", "files wait")
            lines += ["", f"{files} for the next scan to belong to it again."]
        lines += markdown_list("People whose details the next scan reads", later)
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return plain_json(self)


def add_to_library(
    catalog: Catalog,
    provider: Provider,
    kind: TitleKind,
    tmdb_id: int,
    *,
    on_progress: OnProgress | None = None,
) -> AddReport:
    """Add a movie or a show with all its seasons, credits and people.

    Doing so again renews what is there. Nothing is written before all of the title has been read,
    and then in one transaction; the details of people follow, as far as they can be had.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        kind: of title.
        tmdb_id: its id at TMDb.
        on_progress: told after each request's worth of work.

    Raises:
        ValueError: kind or id cannot be one.
        TitleUnknown: TMDb has no such title.
        ProviderUnreachable: it could not be read; nothing is left behind.
        ProviderRefused: the credentials are not accepted.
        UnusableRecord: what TMDb has is no usable title.
    """
    check_title(kind, tmdb_id)
    started, requests = time.monotonic(), provider.requests_made
    tell = listener(on_progress)
    try:
        record, seasons = _read(provider, kind, tmdb_id, tell)
    except Gone:
        raise TitleUnknown(
            f"TMDb has no {named(kind, tmdb_id)}. Look it up on www.themoviedb.org: its page's "
            "address has the id, and says whether it is a movie or a show (tv)."
        ) from None
    except ProviderUnreachable as away:
        raise ProviderUnreachable(
            f"{away}. Nothing was added. If no further attempt follows, add it again once TMDb "
            "answers."
        ) from away
    new, title_id = catalog.write(lambda session: _store(session, record, seasons))
    files = release_files(catalog, kind, tmdb_id)
    people = _add_people(catalog, provider, kind, title_id, tell)
    everyone = [*record.credits, *(c for s in seasons for e in s.episodes for c in e.credits)]
    return AddReport(
        kind=kind,
        tmdb_id=tmdb_id,
        title=record.title,
        year=_year(record),
        new=new,
        seasons=len(seasons),
        episodes=sum(len(season.episodes) for season in seasons),
        credits=len(everyone),
        files=files,
        requests=provider.requests_made - requests,
        duration=time.monotonic() - started,
        people=people,
    )


def _read(
    provider: Provider, kind: TitleKind, tmdb_id: int, tell: OnProgress
) -> tuple[MovieRecord | ShowRecord, list[SeasonRecord]]:
    if kind == "movie":
        movie = provider.movie(tmdb_id)
        tell(Progress(_TITLE_SHARE, movie.title, phase="title"))
        return movie, []
    show = provider.show(tmdb_id)
    seasons = []
    for done, number in enumerate(show.season_numbers, 1):
        share = _TITLE_SHARE * done / (len(show.season_numbers) + 1)
        tell(Progress(share, f"{show.title}, season {number}", phase="title"))
        season = read_season(provider, tmdb_id, number)
        if season is not None:
            seasons.append(season)
    return show, seasons


def read_season(provider: Provider, tmdb_id: int, number: int) -> SeasonRecord | None:
    """Read a season; None when the show names it but TMDb has it no more."""
    try:
        return provider.season(tmdb_id, number)
    except Gone:
        return None


def _store(
    session: Session, record: MovieRecord | ShowRecord, seasons: list[SeasonRecord]
) -> tuple[bool, int]:
    """Return whether the title is new, and its row."""
    if isinstance(record, MovieRecord):
        known = session.scalar(select(Movie.id).where(Movie.tmdb_id == record.tmdb_id))
        return known is None, store_movie(session, record).id
    known = session.scalar(select(Show.id).where(Show.tmdb_id == record.tmdb_id))
    return known is None, store_show(session, record, seasons).id


def _add_people(
    catalog: Catalog, provider: Provider, kind: TitleKind, title_id: int, tell: OnProgress
) -> PeopleReport:
    def tell_rest(progress: Progress) -> None:
        fraction = _TITLE_SHARE + (1 - _TITLE_SHARE) * progress.fraction
        tell(Progress(fraction, progress.current, progress.counts, progress.phase))

    movies, shows = ([title_id], []) if kind == "movie" else ([], [title_id])
    report = fetch_people_of_titles(catalog, provider, movies, shows, on_progress=tell_rest)
    tell(Progress(1.0, phase="done"))
    return report


def _year(record: MovieRecord | ShowRecord) -> int | None:
    day = record.release_date if isinstance(record, MovieRecord) else record.first_air_date
    return day.year if day else None
