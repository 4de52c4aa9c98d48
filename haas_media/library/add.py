"""Adding a title by its TMDb id, with everything that belongs to it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from haas_media.catalog.models import title_model
from haas_media.catalog.store_titles import store_title
from haas_media.library import TitleReport, TitleUnknown, named
from haas_media.library.people import PeopleReport, fetch_people_of_titles
from haas_media.library.remove import release_files
from haas_media.markdown import markdown_list
from haas_media.progress import OnProgress, PhasedProgress
from haas_media.providers.records import Gone, ProviderUnreachable
from haas_media.wording import counted, counted_people

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.models import Movie, Show
    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import (
        MovieRecord,
        SeasonRecord,
        ShowRecord,
        TitleKind,
    )
    from haas_media.providers.tmdb import TmdbClient

# Titles count for this much of the progress, people for the rest, as in a scan.
_PHASES = {"title": (0.0, 0.7), "people": (0.7, 1.0)}


@dataclass(frozen=True, slots=True)
class AddReport(TitleReport):
    """What was added. ``files`` are those that wait for the next scan to belong to it again."""

    heading = "Added to the library"

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
        parts = [self.named]
        if self.kind == "tv":
            parts += [counted(self.seasons, "season"), counted(self.episodes, "episode")]
        parts += [
            counted(self.credits, "credit"),
            f"details of {counted_people(self.people.fetched)}",
        ]
        asked = counted(self.requests, "request")
        return f"{did} {', '.join(parts)}; {asked} in {self.duration:.1f} s."

    def after_table(self) -> list[str]:
        """Say what the next scan will do."""
        later = [str(person_id) for person_id in self.people.unreachable]
        files = counted(self.files, "file waits", "files wait")
        waits = ["", f"{files} for the next scan to belong to it again."] if self.files else []
        return waits + markdown_list("People whose details the next scan reads", later)


def add_to_library(
    catalog: Catalog,
    provider: TmdbClient,
    kind: TitleKind,
    tmdb_id: int,
    *,
    on_progress: OnProgress | None = None,
) -> AddReport:
    """Add a movie or a show with all its seasons, credits and people.

    Doing so again renews what is there. Nothing is written before all of the title has been read,
    and then in one transaction; the details of people follow, as far as they can be had.

    Raises:
        TitleUnknown: TMDb has no such title.
        ProviderUnreachable: it could not be read; nothing is left behind.
        ProviderRefused: the credentials are not accepted.
        UnusableRecord: what TMDb has is no usable title.
    """
    started, requests = time.monotonic(), provider.requests_made
    progress = PhasedProgress(on_progress, _PHASES, every=0)
    try:
        record, seasons = _read(provider, kind, tmdb_id, progress)
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
    new, title, files = catalog.write(lambda session: _store(session, kind, record, seasons))
    people = fetch_people_of_titles(
        catalog,
        provider,
        [title.id] if kind == "movie" else [],
        [title.id] if kind == "tv" else [],
        on_progress=lambda done: progress.report("people", done.fraction, done.current),
    )
    progress.finish()
    everyone = [*record.credits, *(c for s in seasons for e in s.episodes for c in e.credits)]
    return AddReport(
        kind=kind,
        tmdb_id=tmdb_id,
        title=record.title,
        year=title.year,
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
    provider: TmdbClient, kind: TitleKind, tmdb_id: int, progress: PhasedProgress
) -> tuple[MovieRecord | ShowRecord, list[SeasonRecord]]:
    if kind == "movie":
        movie = provider.movie(tmdb_id)
        progress.report("title", 1.0, movie.title)
        return movie, []
    show = provider.show(tmdb_id)

    def on_season(done: int, number: int) -> None:
        share = done / (len(show.season_numbers) + 1)
        progress.report("title", share, f"{show.title}, season {number}")

    return read_seasons(provider, show, show.season_numbers, on_season=on_season)


def read_seasons(
    provider: TmdbClient,
    show: ShowRecord,
    numbers: Sequence[int],
    *,
    on_season: Callable[[int, int], None] = lambda _done, _number: None,
) -> tuple[ShowRecord, list[SeasonRecord]]:
    """Read seasons of a show.

    One that the show names and TMDb does not have, not yet or not any more, is left out, and the
    show that is returned does not name it, as one whose list is not whole: else a refresh would not
    know it as new, or would give up what is on record of it.
    """
    seasons, missing = [], set()
    for done, number in enumerate(numbers, 1):
        on_season(done, number)
        try:
            seasons.append(provider.season(show.tmdb_id, number))
        except Gone:
            missing.add(number)
    if missing:
        named = tuple(number for number in show.season_numbers if number not in missing)
        show = replace(show, season_numbers=named, missing=show.missing | {"season_numbers"})
    return show, seasons


def _store(
    session: Session, kind: TitleKind, record: MovieRecord | ShowRecord, seasons: list[SeasonRecord]
) -> tuple[bool, Movie | Show, int]:
    """Return whether the title is new, its row, and how many files wait for the next scan.

    It is marked as one that somebody wants.
    """
    files = release_files(session, kind, record.tmdb_id)
    model = title_model(kind)
    known = session.scalar(select(model.id).where(model.tmdb_id == record.tmdb_id))
    title = store_title(session, record, seasons)
    title.requested = True
    return known is None, title, files
