"""The titles of the local TMDb: as many generated ones as wanted, and those that a test adds."""

from __future__ import annotations

import datetime as dt
import random
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal

from tests.fake_tmdb import people as make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Kind = Literal["movie", "tv", "person"]
Json = dict[str, Any]

ADJECTIVES = make.word_list(
    """
    Amber Brittle Crimson Distant Electric Forgotten Gilded Hollow Infinite Jagged
    Kindred Lonely Midnight Nameless Obsidian Painted Quiet Restless Silver Tangled
    Unseen Violet Wandering Xenial Yearning Zealous
    """
)
NOUNS = make.word_list(
    """
    Anchor Bridge Compass Daughter Engine Falcon Garden Harbour Island Journey Kingdom
    Lantern Mirror Needle Orchard Pilgrim Quarry River Shadow Tower Umbrella Valley Widow
    Xylophone Yard Zephyr
    """
)
PLACES = make.word_list(
    """
    Almería Bergen Cordoba Dakar Essen Faro Genoa Hanoi Izmir Jaipur Kyoto Lisbon Malmö
    Nairobi Oslo Prague Quito Riga Sofia Tallinn Utrecht Vilnius Warsaw Xi'an Yerevan
    Zürich
    """
)


def generated_title(number: int) -> str:
    """Return the title of that number; 17,576 of them are different, then they have a part."""
    # 7919 is a prime that spreads neighbours over the whole range.
    mixed = (number * 7919) % 17576
    title = f"The {ADJECTIVES[mixed % 26]} {NOUNS[mixed // 26 % 26]} of {PLACES[mixed // 676]}"
    return title if number < 17576 else f"{title} {number // 17576 + 1}"


class Catalogue:
    """Everything that the server can be asked for.

    Args:
        movies: generated movies have the ids 1 to this.
        shows: likewise.
        people: generated people; titles draw their cast and crew from them.
    """

    def __init__(self, movies: int = 0, shows: int = 0, people: int = 3000) -> None:
        self.sizes = {"movie": movies, "tv": shows, "person": people}
        self.added: dict[tuple[str, int], Json | None] = {}
        self.seasons: dict[tuple[int, int], Json] = {}
        self.changed: dict[str, list[tuple[dt.date, Any]]] = {"movie": [], "tv": [], "person": []}
        self._index: dict[str, dict[str, set[int]]] = {}

    # -- adding and changing -------------------------------------------------------------------

    def add_movie(
        self,
        tmdb_id: int,
        title: str,
        release_date: str = "2000-01-01",
        *,
        cast: Sequence[tuple[int, str, str]] = (),
        crew: Sequence[tuple[int, str, str]] = (),
        **fields: Any,
    ) -> None:
        """Add a movie; cast is (person id, name, character), crew (person id, name, job).

        Further ``fields`` overwrite what TMDb would answer, with whatever is given.
        """
        movie = self._generate_movie(tmdb_id, title, release_date)
        movie["credits"] = _credits(cast, crew)
        self._put("movie", tmdb_id, {**movie, **fields})

    def add_show(
        self,
        tmdb_id: int,
        name: str,
        first_air_date: str = "2000-01-01",
        *,
        seasons: dict[int, Sequence[str]] | None = None,
        guests: dict[tuple[int, int], Sequence[tuple[int, str, str]]] | None = None,
        cast: Sequence[tuple[int, str, str]] = (),
        crew: Sequence[tuple[int, str, str]] = (),
        **fields: Any,
    ) -> None:
        """Add a show with the episode titles by season, and guest stars by (season, episode)."""
        seasons = seasons if seasons is not None else {1: ["Pilot", "Second"]}
        show = self._generate_show(tmdb_id, name, first_air_date)
        show["seasons"] = [_season_stub(number, len(names)) for number, names in seasons.items()]
        show["credits"] = _credits(cast, crew)
        show["aggregate_credits"] = make.aggregate(show["credits"], 3)
        for number, names in seasons.items():
            episodes = [
                _episode(tmdb_id, number, e, title, first_air_date)
                for e, title in enumerate(names, 1)
            ]
            for episode in episodes:
                stars = (guests or {}).get((number, episode["episode_number"]), ())
                episode["guest_stars"] = _credits(stars, ())["cast"]
            self.seasons[tmdb_id, number] = _season(tmdb_id, number, episodes)
        self._put("tv", tmdb_id, {**show, **fields})

    def add_person(self, person_id: int, name: str, **fields: Any) -> None:
        """Add a person; without this, people who are credited exist with generated details."""
        self._put("person", person_id, make.person(person_id, name, **fields))

    def update(self, kind: Kind, tmdb_id: int, on: dt.date | None = None, **fields: Any) -> None:
        """Change fields of a record, which then is in that day's change list (today's)."""
        record = self.read(kind, tmdb_id)
        if record is None:
            raise KeyError((kind, tmdb_id))
        self._put(kind, tmdb_id, {**record, **fields})
        self.changed[kind].append((on or dt.datetime.now(dt.UTC).date(), tmdb_id))

    def list_changes(self, kind: Kind, ids: Iterable[Any], on: dt.date) -> None:
        """Put ids into a day's change list, whether they are records or not (TMDb has null)."""
        self.changed[kind].extend((on, i) for i in ids)

    def remove(self, kind: Kind, tmdb_id: int) -> None:
        """Let a record be gone: 404 from now on."""
        self._put(kind, tmdb_id, None)

    def _put(self, kind: str, tmdb_id: int, record: Json | None) -> None:
        self.added[kind, tmdb_id] = record
        self._index.pop(kind, None)

    # -- reading -------------------------------------------------------------------------------

    def read(self, kind: str, tmdb_id: int) -> Json | None:
        """Return a record with all that can be appended to it."""
        if (kind, tmdb_id) in self.added:
            return self.added[kind, tmdb_id]
        if not 1 <= tmdb_id <= self.sizes[kind]:
            return None
        generate: dict[str, Callable[[int], Json]] = {
            "movie": self._generate_movie,
            "tv": self._generate_show,
            "person": make.person,
        }
        return generate[kind](tmdb_id)

    def title(self, kind: Kind, tmdb_id: int) -> str:
        """Return the title of a generated movie or show."""
        return generated_title(tmdb_id + (0 if kind == "movie" else 7))

    def year(self, tmdb_id: int) -> int:
        """Return the year of a generated movie or show."""
        return 1950 + tmdb_id * 13 % 75

    def season(self, show_id: int, number: int) -> Json | None:
        """Return a season of a show."""
        if (show_id, number) in self.seasons:
            return self.seasons[show_id, number]
        show = self.read("tv", show_id)
        numbers = [s["season_number"] for s in (show or {}).get("seasons") or []]
        if ("tv", show_id) in self.added or number not in numbers:
            return None
        rng = random.Random(f"season-{show_id}-{number}")
        episodes = []
        for e in range(1, rng.randint(3, 12) + 1):
            episode = _episode(
                show_id, number, e, f"Chapter {e}", f"{self.year(show_id)}-03-{e:02d}"
            )
            drawn = make.some_credits(rng, self.sizes["person"], 5, 3)
            episode["guest_stars"], episode["crew"] = drawn["cast"], drawn["crew"]
            episodes.append(episode)
        return _season(show_id, number, episodes)

    def find(self, source: str, value: str) -> Json:
        """Return the answer of ``/find``."""
        empty: Json = {
            f"{kind}_results": [] for kind in ("movie", "person", "tv", "tv_episode", "tv_season")
        }
        for kind in ("movie", "tv"):
            for tmdb_id in self._ids(kind):
                record = self.read(kind, tmdb_id) or {}
                external = record.get("external_ids") or {}
                if str(external.get(source)) == value:
                    empty[f"{kind}_results"].append(_result(kind, record))
        return empty

    def search(self, kind: str, query: str, year: int | None) -> list[Json]:
        """Return all results of a search, best first: every word has to occur."""
        index = self._index.get(kind) or self._build_index(kind)
        found: set[int] | None = None
        for word in words(query):
            hits = index.get(word, set())
            found = hits if found is None else found & hits
        records = [r for r in (self.read(kind, i) for i in found or ()) if r]
        if year is not None:
            day = "release_date" if kind == "movie" else "first_air_date"
            records = [r for r in records if str(r.get(day)).startswith(str(year))]
        records.sort(key=lambda r: (-_popularity(r), r["id"]))
        return [_result(kind, r) for r in records]

    def changes(self, kind: str, start: dt.date, end: dt.date) -> list[Json]:
        """Return a change list."""
        ids = dict.fromkeys(i for day, i in self.changed[kind] if start <= day <= end)
        return [{"id": i, "adult": False} for i in ids]

    def _ids(self, kind: str) -> Iterable[int]:
        yield from (i for k, i in self.added if k == kind)
        yield from (i for i in range(1, self.sizes[kind] + 1) if (kind, i) not in self.added)

    def _build_index(self, kind: str) -> dict[str, set[int]]:
        index: dict[str, set[int]] = {}
        for tmdb_id in self._ids(kind):
            record = self.added.get((kind, tmdb_id))
            keys = ("title", "original_title") if kind == "movie" else ("name", "original_name")
            if record is not None:
                texts = [str(record.get(key)) for key in keys]
                texts += record.get("also_found_as", [])
            elif (kind, tmdb_id) not in self.added:
                texts = [self.title(kind, tmdb_id)]  # type: ignore[arg-type]
            else:
                continue
            for text in texts:
                for word in words(text):
                    index.setdefault(word, set()).add(tmdb_id)
        self._index[kind] = index
        return index

    # -- generating ----------------------------------------------------------------------------

    def _generate_movie(self, i: int, title: str = "", date: str | None = None) -> Json:
        rng = random.Random(f"movie-{i}")
        title = title or self.title("movie", i)
        return {
            "adult": False,
            "genres": [{"id": 18, "name": "Drama"}, {"id": 35, "name": "Comedy"}][
                : rng.randint(0, 2)
            ],
            "id": i,
            "imdb_id": f"tt{i:07d}",
            "original_language": "en",
            "original_title": title,
            "overview": f"What happens in {title}.",
            "popularity": round(rng.random() * 50, 3),
            "poster_path": f"/movie{i}.jpg",
            "release_date": f"{self.year(i)}-06-15" if date is None else date,
            "runtime": rng.randint(70, 190),
            "title": title,
            "vote_average": round(rng.random() * 10, 3),
            "vote_count": rng.randint(0, 5000),
            "credits": make.some_credits(rng, self.sizes["person"], 30, 20),
            "external_ids": {"imdb_id": f"tt{i:07d}", "wikidata_id": None},
        }

    def _generate_show(self, i: int, name: str = "", date: str | None = None) -> Json:
        rng = random.Random(f"tv-{i}")
        name = name or self.title("tv", i)
        involved = make.some_credits(rng, self.sizes["person"], 20, 10)
        numbers = list(range(0 if i % 5 == 0 else 1, rng.randint(1, 5) + 1))
        return {
            "adult": False,
            "created_by": [],
            "first_air_date": f"{self.year(i)}-03-01" if date is None else date,
            "genres": [{"id": 18, "name": "Drama"}],
            "id": i,
            "name": name,
            "number_of_seasons": len([n for n in numbers if n]),
            "origin_country": ["US"],
            "original_language": "en",
            "original_name": name,
            "overview": "",
            "popularity": round(rng.random() * 80, 3),
            "poster_path": None,
            "seasons": [_season_stub(n, 8) for n in numbers],
            "vote_average": round(rng.random() * 10, 3),
            "vote_count": rng.randint(0, 900),
            "credits": involved,
            "aggregate_credits": make.aggregate(involved, 8),
            "external_ids": {"imdb_id": f"tt9{i:06d}", "tvdb_id": 100_000 + i, "tvrage_id": None},
        }


def words(text: str) -> list[str]:
    """Return the words of a text as the search compares them."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c)))


def _popularity(record: Json) -> float:
    value = record.get("popularity")
    return float(value) if isinstance(value, int | float) else 0.0


def _credits(
    cast: Sequence[tuple[int, str, str]], crew: Sequence[tuple[int, str, str]]
) -> dict[str, Any]:
    departments = dict(make.JOBS)
    return {
        "cast": [make.cast(i, name, role, order) for order, (i, name, role) in enumerate(cast)],
        "crew": [make.crew(i, name, job, departments.get(job, "Crew")) for i, name, job in crew],
    }


def _season_stub(number: int, episodes: int) -> Json:
    name = f"Season {number}" if number else "Specials"
    return {"air_date": None, "episode_count": episodes, "name": name, "season_number": number}


def _season(show_id: int, number: int, episodes: list[Json]) -> Json:
    return {
        "air_date": episodes[0]["air_date"] if episodes else None,
        "episodes": episodes,
        "id": show_id * 100 + number,
        "name": f"Season {number}" if number else "Specials",
        "overview": "",
        "poster_path": None,
        "season_number": number,
    }


def _episode(show_id: int, season: int, number: int, title: str, air_date: str) -> Json:
    return {
        "air_date": air_date,
        "crew": [],
        "episode_number": number,
        "guest_stars": [],
        "id": show_id * 10_000 + season * 100 + number,
        "name": title,
        "overview": "",
        "runtime": 42,
        "season_number": season,
        "show_id": show_id,
    }


_IN_RESULTS = {
    "movie": ("original_title", "release_date", "title", "video"),
    "tv": ("first_air_date", "name", "origin_country", "original_name"),
}


def _result(kind: str, record: Json) -> Json:
    common = ("adult", "id", "original_language", "overview", "popularity", "poster_path")
    keys = (*common, "vote_average", "vote_count", *_IN_RESULTS[kind])
    return {"genre_ids": [], **{key: record[key] for key in keys if key in record}}
