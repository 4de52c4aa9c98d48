"""Turn TMDb's answers into records.

Sources: https://developer.themoviedb.org/reference, movie-details, tv-series-details,
tv-season-details, person-details, find-by-id, changes-movie-list.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import (
    EpisodeRecord,
    MovieRecord,
    PersonRecord,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)
from haas_media.providers.tmdb.credits import episode_credits, movie_credits, show_credits
from haas_media.providers.tmdb.fields import (
    date,
    gaps,
    imdb_id,
    integer,
    names,
    nested,
    number,
    objects,
    require_id,
    require_list,
    required_title,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from haas_media.providers.records import TitleKind

    Fields = Mapping[str, Any]

_log = logging.getLogger(__name__)

# Where TMDb tells their number only. No show has as many; a wrong number must not fill the memory.
_MOST_SEASONS = 1000


def parse_movie(fields: Fields, tmdb_id: int) -> MovieRecord:
    """Read a movie with its ``credits``.

    Raises:
        UnusableRecord: no title, or not the movie that was asked for.
    """
    what = f"movie {tmdb_id}"
    require_id(fields, what, "id", tmdb_id)
    credits, missing = movie_credits(fields)  # noqa: A001
    read: dict[str, Any] = {
        "title": required_title(fields, what, "title", "original_title"),
        "original_title": text(fields, "original_title"),
        "release_date": date(fields, "release_date"),
        "runtime": integer(fields, "runtime", least=1),
        "imdb_id": imdb_id(fields, "tt"),
        **_of_any_title(fields),
    }
    missing |= gaps(fields, read)
    return MovieRecord(tmdb_id=tmdb_id, credits=credits, missing=frozenset(missing), **read)


def _of_any_title(fields: Fields) -> dict[str, Any]:
    return {
        "overview": text(fields, "overview"),
        "poster_path": text(fields, "poster_path"),
        "genres": names(fields, "genres"),
        "popularity": number(fields, "popularity") or 0.0,
        "vote_average": number(fields, "vote_average"),
    }


def parse_show(fields: Fields, tmdb_id: int) -> ShowRecord:
    """Read a show with its ``aggregate_credits`` and ``external_ids``.

    Raises:
        UnusableRecord: no name, or not the show that was asked for.
    """
    what = f"show {tmdb_id}"
    require_id(fields, what, "id", tmdb_id)
    credits, missing = show_credits(fields)  # noqa: A001
    external = nested(fields, "external_ids")
    ids: dict[str, Any] = {
        "imdb_id": imdb_id(external, "tt"),
        "tvdb_id": integer(external, "tvdb_id", least=1),
    }
    missing |= gaps(external, ids)
    read: dict[str, Any] = {
        "title": required_title(fields, what, "name", "original_name"),
        "original_title": text(fields, "original_name"),
        "first_air_date": date(fields, "first_air_date"),
        "season_numbers": _season_numbers(fields),
        **_of_any_title(fields),
    }
    missing |= gaps(
        fields, read, title="name", original_title="original_name", season_numbers="seasons"
    )
    if fields.get("seasons") is None:  # where there is always a list, null tells nothing
        missing.add("season_numbers")
    return ShowRecord(tmdb_id=tmdb_id, credits=credits, missing=frozenset(missing), **ids, **read)


def _season_numbers(fields: Fields) -> tuple[int, ...]:
    listed = {integer(season, "season_number") for season in objects(fields, "seasons")}
    found = sorted(number for number in listed if number is not None)
    if found or "seasons" in fields:
        return tuple(found)
    return tuple(range(1, min(integer(fields, "number_of_seasons") or 0, _MOST_SEASONS) + 1))


def parse_season(fields: Fields, tmdb_id: int, season: int) -> SeasonRecord:
    """Read a season with its episodes; an episode without a number is left out.

    Raises:
        UnusableRecord: not the season that was asked for.
    """
    what = f"season {season} of show {tmdb_id}"
    require_id(fields, what, "season_number", season)
    missing = set() if isinstance(fields.get("episodes"), list) else {"episodes"}
    episodes: dict[int, EpisodeRecord] = {}
    for item in objects(fields, "episodes"):
        episode = _parse_episode(item)
        if episode is None:
            _log.warning("TMDb's %s has an episode without a number; it is left out", what)
            missing.add("episodes")  # it may be any of those on record
        else:
            episodes.setdefault(episode.number, episode)
    read: dict[str, Any] = {
        "title": text(fields, "name"),
        "air_date": date(fields, "air_date"),
        "overview": text(fields, "overview"),
        "poster_path": text(fields, "poster_path"),
    }
    missing |= gaps(fields, read, title="name")
    return SeasonRecord(
        number=season, episodes=tuple(episodes.values()), missing=frozenset(missing), **read
    )


def _parse_episode(fields: Fields) -> EpisodeRecord | None:
    episode = integer(fields, "episode_number")
    if episode is None:
        return None
    credits, missing = episode_credits(fields)  # noqa: A001
    read: dict[str, Any] = {
        "title": text(fields, "name"),
        "air_date": date(fields, "air_date"),
        "overview": text(fields, "overview"),
        "runtime": integer(fields, "runtime", least=1),
    }
    missing |= gaps(fields, read, title="name")
    return EpisodeRecord(number=episode, credits=credits, missing=frozenset(missing), **read)


def parse_person(fields: Fields, person_id: int) -> PersonRecord:
    """Read a person.

    Raises:
        UnusableRecord: no name, or not the person who was asked for.
    """
    what = f"person {person_id}"
    require_id(fields, what, "id", person_id)
    read: dict[str, Any] = {
        "name": required_title(fields, what, "name"),
        "biography": text(fields, "biography"),
        "birthday": date(fields, "birthday"),
        "deathday": date(fields, "deathday"),
        "place_of_birth": text(fields, "place_of_birth"),
        "imdb_id": imdb_id(fields, "nm"),
        "profile_path": text(fields, "profile_path"),
        "known_for": text(fields, "known_for_department"),
    }
    missing = gaps(fields, read, known_for="known_for_department")
    return PersonRecord(person_id=person_id, missing=frozenset(missing), **read)


def parse_found(fields: Fields, kind: TitleKind) -> int | None:
    """Return the title that ``/find`` tells of; an episode's or a season's id stands for its show.

    None when there is none, or more than one.

    Raises:
        ProviderUnreachable: it is no such answer.
    """
    require_list(fields, f"{kind}_results")
    if kind == "movie":
        found = {integer(item, "id", least=1) for item in objects(fields, "movie_results")}
    else:
        found = {integer(item, "id", least=1) for item in objects(fields, "tv_results")}
        if not found:
            found = {
                integer(item, "show_id", least=1)
                for key in ("tv_season_results", "tv_episode_results")
                for item in objects(fields, key)
            }
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def parse_changes(fields: Fields) -> tuple[frozenset[int], int]:
    """Return the ids of one page of a change list, and the number of pages.

    Raises:
        UnusableRecord: it is no such page, which is not to say that nothing has changed.
    """
    pages = integer(fields, "total_pages")
    if pages is None or not isinstance(fields.get("results"), list):
        raise UnusableRecord("TMDb's list of changes has no usable 'results' and 'total_pages'")
    ids = (integer(item, "id", least=1) for item in objects(fields, "results"))
    return frozenset(i for i in ids if i is not None), pages
