"""What a metadata provider tells of a title, as plain data.

``missing`` names the fields of which an answer tells nothing, so that what is on record of them
stays; of the credits, ``cast`` and ``crew`` by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt

    from haas_media.reasons import Reason

TitleKind = Literal["movie", "tv"]
RecordKind = Literal["movie", "tv", "person"]


class ProviderError(Exception):
    """Anything a provider could not do. The text is a sentence for people."""


class ProviderUnreachable(ProviderError):
    """The provider did not answer in spite of retries.

    What that means for the work in hand, and who asks again, is for the caller to say.
    """


class ProviderRefused(ProviderError):
    """The provider refuses the credentials; nothing else can work, so the whole task fails."""


class Gone(ProviderError):
    """The provider has no such record (any more)."""


class UnusableRecord(ProviderError):
    """The record lacks what makes it a title, or is of the wrong shape; fails that title only."""


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """One person's part in a movie, a show or an episode.

    ``weight`` orders crew for the fetching of details: the lower, the sooner.
    """

    person_id: int
    name: str
    kind: Literal["cast", "crew"]
    character: str | None = None
    order: int | None = None
    job: str | None = None
    department: str | None = None
    profile_path: str | None = None
    weight: int = 100


@dataclass(frozen=True, slots=True)
class TitleRecord:
    """What movies and shows have in common: ids, texts, credits."""

    tmdb_id: int
    title: str
    original_title: str | None = None
    overview: str | None = None
    imdb_id: str | None = None
    poster_path: str | None = None
    genres: tuple[str, ...] = ()
    popularity: float = 0.0
    vote_average: float | None = None
    credits: tuple[CreditRecord, ...] = ()
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MovieRecord(TitleRecord):
    """A movie; its runtime in minutes."""

    release_date: dt.date | None = None
    runtime: int | None = None


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """An episode; its credits are the guest stars and its own crew."""

    number: int
    title: str | None = None
    air_date: dt.date | None = None
    overview: str | None = None
    runtime: int | None = None
    credits: tuple[CreditRecord, ...] = ()
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SeasonRecord:
    """A season with its episodes; season 0 holds the specials."""

    number: int
    title: str | None = None
    air_date: dt.date | None = None
    overview: str | None = None
    poster_path: str | None = None
    episodes: tuple[EpisodeRecord, ...] = ()
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ShowRecord(TitleRecord):
    """A show without its episodes; ``season_numbers`` says which seasons can be asked for."""

    first_air_date: dt.date | None = None
    tvdb_id: int | None = None
    season_numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """Details of a person."""

    person_id: int
    name: str
    biography: str | None = None
    birthday: dt.date | None = None
    deathday: dt.date | None = None
    place_of_birth: str | None = None
    imdb_id: str | None = None
    profile_path: str | None = None
    known_for: str | None = None
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Match:
    """The search is sure enough."""

    tmdb_id: int


@dataclass(frozen=True, slots=True)
class NoMatch:
    """The search is not sure enough; ``reason`` is for the unmatched list.

    ``closest`` has ids and years of the results, the best first.
    """

    reason: Reason
    closest: tuple[tuple[int, int | None], ...] = ()
