"""What a provider is asked for one title. Runs in threads: it knows no database.

A movie costs one search and one detail request, a show one search, one detail request and one for
each season that its files need. A title whose id is known costs no search.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from haas_media.providers.records import (
    Gone,
    Match,
    MovieRecord,
    NoMatch,
    ProviderUnreachable,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)
from haas_media.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from haas_media.identification.identity import Identity
    from haas_media.providers.records import TitleKind
    from haas_media.providers.tmdb import TmdbClient

Episodes = tuple[tuple[int, int], ...]
Record = TypeVar("Record", MovieRecord, ShowRecord)
_DATABASES = {"imdb": "IMDb", "tvdb": "TheTVDB"}
# A file is often there before the provider has the episode of its date.
_LATE = dt.timedelta(days=14)


@dataclass(frozen=True, slots=True)
class TitleRequest:
    """A title to ask for; ``id`` is its row's, ``source`` who told of it so far.

    ``other_titles`` are tried where the first is not found. ``aliases`` are the keys under which
    an answer is to be remembered, ``detailed`` says that its details are on record and fresh
    enough.
    """

    id: int
    title: str
    year: int | None
    tmdb_id: int | None
    imdb_id: str | None
    tvdb_id: int | None
    source: str
    detailed: bool
    other_titles: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShowRequest(TitleRequest):
    """A show to ask for, with what its files need.

    ``files`` are identifications by the id of the file. ``known`` are the episode numbers of the
    seasons that are on record and complete, ``wanted`` further seasons to read.
    """

    files: Mapping[int, Identity] = field(default_factory=dict)
    known: Mapping[int, frozenset[int]] = field(default_factory=dict)
    season_numbers: tuple[int, ...] = ()
    wanted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ShowResult:
    """What came of it: the show if it was asked for, seasons, and which episodes files hold.

    ``refused`` says of files why no reading of their numbers is one that the show has; ``waiting``
    are files of a date that it may have soon.
    """

    record: ShowRecord | None
    seasons: tuple[SeasonRecord, ...]
    episodes: Mapping[int, Episodes]
    refused: Mapping[int, Reason] = field(default_factory=dict)
    waiting: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def request_movie(provider: TmdbClient, request: TitleRequest) -> MovieRecord | NoMatch:
    """Find the movie, and read it."""
    find = partial(_find, provider, "movie")
    tmdb_id = find(request)
    if isinstance(tmdb_id, NoMatch):
        return tmdb_id
    return _read(provider.movie, find, tmdb_id, request)


def request_show(provider: TmdbClient, request: ShowRequest) -> ShowResult | NoMatch:
    """Find the show, and read it with the seasons that its files need."""
    find = partial(_find, provider, "tv")
    tmdb_id = find(request)
    if isinstance(tmdb_id, NoMatch):
        return tmdb_id
    record = None
    numbers = request.season_numbers
    if not request.detailed or not _seasons_named(request) <= set(numbers):
        record = _read(provider.show, find, tmdb_id, request)
        tmdb_id, numbers = record.tmdb_id, record.season_numbers or numbers
    seasons = _Seasons(provider, tmdb_id, numbers, request.known)
    if record and not numbers and "season_numbers" in record.missing:
        seasons.untold[0] = f"TMDb's answer does not tell the seasons of show {tmdb_id}"
    episodes: dict[int, Episodes] = {}
    notes: list[str] = []
    for number in sorted(request.wanted):
        seasons.read(number)
    refused: dict[int, Reason] = {}
    waiting: set[int] = set()
    for file_id, what in sorted(request.files.items()):
        try:
            episodes[file_id] = _place(seasons, what)
        except _NoReadingError as readings:
            reason = Reason("no-such-episode", readings=str(readings), title=request.title)
            episodes[file_id], refused[file_id] = (), reason
            continue
        if not episodes[file_id] and what.date:
            notes.append(f"{request.title} has no episode of {what.date}")
            if what.date > dt.datetime.now(dt.UTC).date() - _LATE:
                waiting.add(file_id)
    if record is None and not all(episodes.values()):
        # There may be seasons by now that are not on record.
        return request_show(provider, replace(request, detailed=False))
    notes = [*seasons.untold.values(), *notes]
    return ShowResult(record, seasons.fetched, episodes, refused, frozenset(waiting), tuple(notes))


def _find(provider: TmdbClient, kind: TitleKind, request: TitleRequest) -> int | NoMatch:
    """Find a title by the surest that is known of it: TMDb's id, another's, its name.

    What only an NFO file gives is no more than its title; an id tag is never given up for a name.
    """
    if request.tmdb_id is not None:
        return request.tmdb_id
    foreign = [
        (source, value)
        for source, value in (("imdb", request.imdb_id), ("tvdb", request.tvdb_id))
        if value
    ]
    for source, value in foreign:
        tmdb_id = provider.find_external(kind, source, str(value))
        if tmdb_id is not None:
            return tmdb_id
    if foreign and request.source != "nfo":
        source, value = foreign[0]
        what, whose = ("movie" if kind == "movie" else "show"), _DATABASES[source]
        return NoMatch(Reason("unknown-foreign-id", what=what, source=whose, id=value))
    return _by_title(partial(provider.find, kind), request)


def _read(
    read: Callable[[int], Record],
    find: Callable[[TitleRequest], int | NoMatch],
    tmdb_id: int,
    request: TitleRequest,
) -> Record:
    """Read a title; where its id is gone, the one that its other ids or its NFO file lead to."""
    try:
        return read(tmdb_id)
    except Gone:
        led = request.imdb_id or request.tvdb_id or request.source == "nfo"
        if request.tmdb_id is None or not led:
            raise
        other = find(replace(request, tmdb_id=None))
        if isinstance(other, NoMatch) or other == tmdb_id:
            raise
        return read(other)


def _by_title(
    find: Callable[[str, int | None], Match | NoMatch], request: TitleRequest
) -> int | NoMatch:
    """Search for each title that the name has, until one is found; else say why of the first."""
    refused = None
    for title in (request.title, *request.other_titles):
        found = find(title, request.year)
        if isinstance(found, Match):
            return found.tmdb_id
        refused = refused or found
    assert refused is not None  # noqa: S101 - there is one title
    return refused


def _seasons_named(request: ShowRequest) -> set[int]:
    """Return the seasons that the files name and that are not on record with these episodes."""
    return set(request.wanted) | {
        what.season
        for what in request.files.values()
        if what.season is not None
        and not set(what.episodes) <= request.known.get(what.season, frozenset())
    }


class _Seasons:
    """The seasons of one show, each read at most once, and only if it is needed."""

    def __init__(
        self,
        provider: TmdbClient,
        tmdb_id: int,
        numbers: tuple[int, ...],
        known: Mapping[int, frozenset[int]],
    ) -> None:
        self._provider = provider
        self._tmdb_id = tmdb_id
        self._known = known
        self._read: dict[int, SeasonRecord | None] = {}
        self.numbers = numbers
        # What was wrong with seasons whose episodes are not known for that.
        self.untold: dict[int, str] = {}

    @property
    def fetched(self) -> tuple[SeasonRecord, ...]:
        return tuple(record for record in self._read.values() if record)

    @property
    def several(self) -> bool:
        """Tell whether there is another season than the first and the specials."""
        return sum(number > 0 for number in self.numbers) > 1

    def read(self, number: int) -> SeasonRecord | None:
        """Return a season; none if the provider has none of that number."""
        if number not in self.numbers:
            return None
        if number not in self._read:
            self._read[number] = None
            try:
                season = self._read[number] = self._provider.season(self._tmdb_id, number)
                if "episodes" in season.missing:
                    what = f"season {number} of show {self._tmdb_id}"
                    self.untold[number] = f"TMDb's answer does not tell the episodes of {what}"
            except (Gone, UnusableRecord) as error:
                self.untold[number] = str(error)
        return self._read[number]

    def episodes(self, number: int, *, fresh: bool) -> list[int]:
        """Return a season's episode numbers; those on record will do unless fresh ones must be."""
        if not fresh and number in self._known:
            return sorted(self._known[number])
        season = self.read(number)
        return sorted(episode.number for episode in season.episodes) if season else []

    def require_all(self) -> None:
        """Refuse to say that an episode is nowhere while some are not known.

        Raises:
            ProviderUnreachable: a season that was read has told none, or not all.
        """
        for problem in self.untold.values():
            raise ProviderUnreachable(problem)

    def has(self, number: int, episodes: tuple[int, ...]) -> bool:
        """Tell whether the catalog has these episodes of a season from the provider."""
        return set(episodes) <= self._known.get(number, frozenset())


class _NoReadingError(Exception):
    """The show has none of the episodes that a number can mean. The text lists them."""


def _place(seasons: _Seasons, what: Identity) -> Episodes:
    """Say which episodes a file holds; nothing if its date is not known.

    Raises:
        _NoReadingError: its name leaves open which they are, and none that it can mean is there.
    """
    if what.date:
        return _by_date(seasons, what.date, what.part or 1)
    if what.season is None and what.absolute:
        return tuple(_by_count(seasons, number) for number in what.absolute)
    season = 1 if what.season is None else what.season
    if seasons.has(season, what.episodes):
        return tuple((season, number) for number in what.episodes)
    there = seasons.episodes(season, fresh=True)
    if there and season and seasons.several and not set(there) & set(what.episodes):
        # `Season 2/Show - 65`, counted from the first season on; some keep all in `Season 1`.
        counted = [_count_through(seasons, number, fresh=False) for number in what.episodes]
        of = {found and found[0] for found in counted}
        if of == {season} or (what.bare and season == 1 and None not in of):
            return tuple(found for found in counted if found)
        if what.bare:
            seasons.require_all()
            raise _NoReadingError(_readings(season, what.episodes[0]))
    return tuple((season, number) for number in what.episodes)


def _by_count(seasons: _Seasons, absolute: int) -> tuple[int, int]:
    """Find the episode that is this many from the first one on.

    Some shows have their later seasons counted on, too; then the number itself is looked for. One
    that no episode has yet is the first season's, if there is no other.
    """
    for fresh in (False, True):
        if counted := _count_through(seasons, absolute, fresh=fresh):
            return counted
    seasons.require_all()
    found = _in_one_number(seasons, absolute)
    if found is None and seasons.several:
        raise _NoReadingError(_readings(*divmod(absolute, 100), counted=absolute))
    return found or (1, absolute)


def _readings(season: int, number: int, *, counted: int | None = None) -> str:
    """Say what a number can mean: of a season, or counted from the first one on."""
    of_season = f"S{season:02}E{number:02} or as " if season and number else ""
    return f"{of_season}episode {counted or number} from the first season on"


def _in_one_number(seasons: _Seasons, number: int) -> tuple[int, int] | None:
    """Read `525` as season 5, episode 25, where the show has that and fewer than 525 episodes."""
    season, episode = divmod(number, 100)
    return (
        (season, episode) if season and episode in seasons.episodes(season, fresh=False) else None
    )


def _count_through(seasons: _Seasons, absolute: int, *, fresh: bool) -> tuple[int, int] | None:
    before = 0
    for number in sorted(number for number in seasons.numbers if number > 0):
        episodes = seasons.episodes(number, fresh=fresh)
        if number in seasons.untold:
            return None
        counted_on = bool(before and episodes and episodes[0] > 1)
        if absolute in episodes and (not before or counted_on):
            return number, absolute
        if not counted_on and 0 < absolute - before <= len(episodes):
            return number, episodes[absolute - before - 1]
        before += len(episodes)
    return None


def _by_date(seasons: _Seasons, date: dt.date, part: int) -> Episodes:
    """Find the episode of a date, from the season of that year or the newest one down.

    Of several on one date, `part` says which.
    """
    order = sorted(seasons.numbers, key=lambda number: (number != date.year, -number))
    for number in order:
        season = seasons.read(number)
        aired = [episode for episode in season.episodes if episode.air_date] if season else []
        hits = tuple((number, episode.number) for episode in aired if episode.air_date == date)
        if hits:
            return hits[part - 1 : part] if len(hits) > 1 else hits
        first = min((episode.air_date for episode in aired if episode.air_date), default=None)
        if number and first and first < date:
            break
    seasons.require_all()
    return ()
