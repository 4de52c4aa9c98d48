"""What a provider is asked for one title. Runs in threads: it knows no database.

A movie costs one search and one detail request, a show one search, one detail request and one for
each season that its files need. A title whose id is known costs no search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from haas_media.providers.records import (
    Gone,
    MovieRecord,
    NoMatch,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from haas_media.providers.records import Provider
    from haas_media.scan.identification import Identification

Episodes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A title to ask for; ``id`` is its row's, ``source`` who told of it so far.

    ``aliases`` are the keys under which an answer is to be remembered, ``detailed`` says that its
    details are on record and fresh enough.
    """

    id: int
    title: str
    year: int | None
    tmdb_id: int | None
    imdb_id: str | None
    tvdb_id: int | None
    source: str
    detailed: bool
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShowQuestion:
    """A show to ask for, with what its files need.

    ``files`` are identifications by the id of the file. ``known`` are the episode numbers of the
    seasons that are on record and complete, ``wanted`` further seasons to read.
    """

    show: Question
    files: Mapping[int, Identification]
    known: Mapping[int, frozenset[int]] = field(default_factory=dict)
    season_numbers: tuple[int, ...] = ()
    wanted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ShowAnswer:
    """What came of it: the show if it was asked for, seasons, and which episodes files hold."""

    record: ShowRecord | None
    seasons: tuple[SeasonRecord, ...]
    episodes: Mapping[int, Episodes]
    notes: tuple[str, ...] = ()


def ask_movie(provider: Provider, question: Question) -> MovieRecord | NoMatch:
    """Find the movie, and read it."""
    tmdb_id = question.tmdb_id
    if tmdb_id is None and question.imdb_id:
        tmdb_id = provider.find_external("movie", "imdb", question.imdb_id)
        if tmdb_id is None and question.source != "nfo":
            return NoMatch(_unknown_id("movie", f"IMDb's id {question.imdb_id}"))
    if tmdb_id is None:
        found = provider.find_movie(question.title, question.year)
        if isinstance(found, NoMatch):
            return found
        tmdb_id = found.tmdb_id
    return provider.movie(tmdb_id)


def ask_show(provider: Provider, question: ShowQuestion) -> ShowAnswer | NoMatch:
    """Find the show, and read it with the seasons that its files need."""
    tmdb_id = _find_show(provider, question.show)
    if isinstance(tmdb_id, NoMatch):
        return tmdb_id
    record = None
    numbers = question.season_numbers
    if not question.show.detailed or not _seasons_named(question) <= set(numbers):
        record = provider.show(tmdb_id)
        numbers = record.season_numbers
    seasons = _Seasons(provider, tmdb_id, numbers, question.known)
    episodes: dict[int, Episodes] = {}
    notes: list[str] = []
    for number in sorted(question.wanted):
        seasons.read(number)
    for file_id, what in sorted(question.files.items()):
        episodes[file_id] = _place(seasons, what)
        if not episodes[file_id]:
            notes.append(f"{question.show.title} has no episode of {what.date}")
    return ShowAnswer(record, seasons.fetched, episodes, (*seasons.notes, *notes))


def _find_show(provider: Provider, show: Question) -> int | NoMatch:
    if show.tmdb_id is not None:
        return show.tmdb_id
    for source, value in (("imdb", show.imdb_id), ("tvdb", show.tvdb_id)):
        if value:
            tmdb_id = provider.find_external("tv", source, str(value))
            if tmdb_id is not None:
                return tmdb_id
    if (show.imdb_id or show.tvdb_id) and show.source != "nfo":
        told = f"IMDb's id {show.imdb_id}" if show.imdb_id else f"TheTVDB's id {show.tvdb_id}"
        return NoMatch(_unknown_id("show", told))
    found = provider.find_show(show.title, show.year)
    return found if isinstance(found, NoMatch) else found.tmdb_id


def _unknown_id(what: str, told: str) -> str:
    return f"No {what} with {told} is known. Correct the id tag, or use one of TMDb's ids"


def _seasons_named(question: ShowQuestion) -> set[int]:
    """Return the seasons that the files name and that are not on record with these episodes."""
    return set(question.wanted) | {
        what.season
        for what in question.files.values()
        if what.season is not None
        and not set(what.episodes) <= question.known.get(what.season, frozenset())
    }


class _Seasons:
    """The seasons of one show, each read at most once, and only if it is needed."""

    def __init__(
        self,
        provider: Provider,
        tmdb_id: int,
        numbers: tuple[int, ...],
        known: Mapping[int, frozenset[int]],
    ) -> None:
        self._provider = provider
        self._tmdb_id = tmdb_id
        self._known = known
        self._read: dict[int, SeasonRecord | None] = {}
        self.numbers = numbers
        self.notes: list[str] = []

    @property
    def fetched(self) -> tuple[SeasonRecord, ...]:
        return tuple(record for record in self._read.values() if record)

    def read(self, number: int) -> SeasonRecord | None:
        """Return a season; none if the provider has none of that number."""
        if number not in self.numbers:
            return None
        if number not in self._read:
            self._read[number] = None
            try:
                self._read[number] = self._provider.season(self._tmdb_id, number)
            except Gone:
                pass
            except UnusableRecord as error:
                self.notes.append(str(error))
        return self._read[number]

    def episodes(self, number: int, *, fresh: bool) -> list[int]:
        """Return a season's episode numbers; those on record will do unless fresh ones must be."""
        if not fresh and number in self._known:
            return sorted(self._known[number])
        season = self.read(number)
        return sorted(episode.number for episode in season.episodes) if season else []

    def has(self, number: int, episodes: tuple[int, ...]) -> bool:
        """Tell whether the catalog has these episodes of a season from the provider."""
        return set(episodes) <= self._known.get(number, frozenset())


def _place(seasons: _Seasons, what: Identification) -> Episodes:
    """Say which episodes a file holds; nothing if its date is not known."""
    if what.date:
        return _by_date(seasons, what.date)
    if what.season is None and what.absolute:
        return tuple(_by_count(seasons, number) for number in what.absolute)
    season = 1 if what.season is None else what.season
    if not seasons.has(season, what.episodes):
        seasons.read(season)
    return tuple((season, number) for number in what.episodes)


def _by_count(seasons: _Seasons, absolute: int) -> tuple[int, int]:
    """Find the episode that is this many from the first one on.

    Some shows have their later seasons counted on, too; then the number itself is looked for.
    """
    return (
        _count_through(seasons, absolute, fresh=False)
        or _count_through(seasons, absolute, fresh=True)
        or (1, absolute)
    )


def _count_through(seasons: _Seasons, absolute: int, *, fresh: bool) -> tuple[int, int] | None:
    before = 0
    for number in sorted(number for number in seasons.numbers if number > 0):
        episodes = seasons.episodes(number, fresh=fresh)
        counted_on = bool(before and episodes and episodes[0] > 1)
        if absolute in episodes and (not before or counted_on):
            return number, absolute
        if not counted_on and 0 < absolute - before <= len(episodes):
            return number, episodes[absolute - before - 1]
        before += len(episodes)
    return None


def _by_date(seasons: _Seasons, date: dt.date) -> Episodes:
    """Find the episode of a date, from the season of that year or the newest one down."""
    order = sorted(seasons.numbers, key=lambda number: (number != date.year, -number))
    for number in order:
        season = seasons.read(number)
        aired = [episode for episode in season.episodes if episode.air_date] if season else []
        hits = tuple((number, episode.number) for episode in aired if episode.air_date == date)
        if hits:
            return hits[:1]
        first = min((episode.air_date for episode in aired if episode.air_date), default=None)
        if number and first and first < date:
            break
    return ()
