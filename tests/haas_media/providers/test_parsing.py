"""TMDb's answers as they really are: recorded, generated, and with anything wrong in them."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haas_media.providers.records import (
    CreditRecord,
    Gone,
    ProviderUnreachable,
    UnusableRecord,
)
from haas_media.providers.tmdb import TmdbClient, parsing
from haas_media.providers.tmdb.credits import crew_weight
from haas_media.providers.tmdb.scoring import weigh
from tests.fake_tmdb import Catalogue, FakeTmdb, Recorded

from .conftest import V3_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DETAILS = {
    r"/3/movie/([^/]+)": parsing.parse_movie,
    r"/3/tv/([^/]+)": parsing.parse_show,
    r"/3/person/([^/]+)": parsing.parse_person,
}


# -- what TMDb answered ------------------------------------------------------------------------


def test_every_recorded_record_is_parsed(recordings: Path) -> None:
    recorded = Recorded(recordings)
    parsed: list[str] = []
    for entry in recorded.entries:
        body = recorded.read(entry)
        for pattern, parse in DETAILS.items():
            if entry["status"] == 200 and re.fullmatch(pattern, entry["path"]) and "id" in body:
                record = parse(body, body["id"])
                assert getattr(record, "title", None) or record.name  # type: ignore[union-attr]
                parsed.append(entry["file"])
        season = re.fullmatch(r"/3/tv/(\d+)/season/(\d+)", entry["path"])
        if season and entry["status"] == 200:
            record = parsing.parse_season(body, int(season[1]), int(season[2]))
            assert len(record.episodes) == len(body["episodes"])
            parsed.append(entry["file"])
        if re.fullmatch(r"/3/(movie|tv|person)/changes", entry["path"]):
            ids, pages = parsing.parse_changes(body)
            assert ids
            assert pages == body["total_pages"]
            parsed.append(entry["file"])
        if kind := re.fullmatch(r"/3/search/(movie|tv)", entry["path"]):
            weigh(kind[1], entry["query"]["query"], None, body)  # type: ignore[arg-type]
            parsed.append(entry["file"])
    assert len(parsed) >= 35, parsed


def test_what_the_recorded_records_say(recordings: Path) -> None:
    recorded = Recorded(recordings)

    def answer(request: httpx.Request) -> httpx.Response:
        status, body = recorded.answer(request.url.path, dict(request.url.params)) or (404, {})
        return httpx.Response(status, json=body)

    with TmdbClient(
        V3_KEY, transport=httpx.MockTransport(answer), requests_per_second=1000
    ) as client:
        show = client.show(1396)
        assert (show.title, show.first_air_date) == ("Breaking Bad", dt.date(2008, 1, 20))
        assert show.season_numbers[:3] == (0, 1, 2)
        creators = [c for c in show.credits if c.job == "Creator"]
        assert [c.name for c in creators] == ["Vince Gilligan"]
        pilot = client.season(1396, 1).episodes[0]
        assert (pilot.number, pilot.title, pilot.runtime) == (1, "Pilot", 59)
        assert {c.kind for c in pilot.credits} == {"cast", "crew"}
        person = client.person(62)
        assert (person.name, person.birthday) == ("Bruce Willis", dt.date(1955, 3, 19))
        movie = client.movie(47964)
        assert movie.imdb_id == "tt1606378"
        assert any(c.name == "Bruce Willis" and c.kind == "cast" for c in movie.credits)
        assert client.find_external("tv", "tvdb", "81189") == 1396
        # The id of an episode stands for its show.
        assert client.find_external("tv", "imdb", "tt0959621") == 1396
        assert client.find_external("movie", "imdb", "nm0000246") is None
        with pytest.raises(Gone):
            client.movie(999_999_999)


def test_credits_of_a_show_are_those_of_its_newest_season_where_there_are_no_others(
    tmdb: FakeTmdb, connect: Callable[..., TmdbClient]
) -> None:
    """A proxy may know only the older of the two lists, or leave the other one empty."""
    tmdb.catalogue.add_show(7, "Show", cast=[(1, "Lead", "Somebody")])
    for nothing in (None, {}, {"cast": [], "crew": []}):
        tmdb.catalogue.update("tv", 7, aggregate_credits=nothing)
        assert [credit.name for credit in connect().show(7).credits] == ["Lead"]


def test_recorded_credits_of_shows_in_both_shapes(recordings: Path) -> None:
    recorded = Recorded(recordings)
    _, plain = recorded.answer("/3/tv/1396", {"append_to_response": "credits"}) or (0, {})
    lead = parsing.parse_show(plain, 1396).credits[1]
    assert (lead.name, lead.character, lead.order) == ("Bryan Cranston", "Walter White", 0)
    _, lupin = recorded.answer("/3/tv/96677/aggregate_credits", {}) or (0, {})
    body = {"id": 96677, "name": "Lupin", "aggregate_credits": lupin}
    first = parsing.parse_show(body, 96677).credits[0]
    assert (first.name, first.character, first.order) == ("Omar Sy", "Assane Diop", 0)


def test_the_full_examples_are_parsed(recordings: Path) -> None:
    examples = recordings / "themoviedb_mock"

    def load(name: str) -> Any:
        return json.loads((examples / name).read_text(encoding="utf-8"))

    movie = parsing.parse_movie(load("movies/details_full.json"), 76)
    assert [c.name for c in movie.credits][:3] == [
        "Ethan Hawke",
        "Julie Delpy",
        "Richard Linklater",
    ]
    show = parsing.parse_show(load("tv/details_full.json"), 1399)
    assert (show.tvdb_id, show.imdb_id) == (121361, "tt0944947")
    assert show.season_numbers == tuple(range(9))
    season = parsing.parse_season(load("tv_seasons/details.json"), 1399, 1)
    assert len(season.episodes) == 10
    assert season.episodes[0].credits
    assert parsing.parse_person(load("people/details_full.json"), 287).known_for == "Acting"
    for kind in ("movie", "tv", "person"):
        ids, pages = parsing.parse_changes(load(f"changes/{kind}.json"))
        assert len(ids) == 100
        assert pages > 1


# -- shapes ------------------------------------------------------------------------------------


def test_aggregate_credits_are_ordered_as_listed_and_one_credit_a_job() -> None:
    show = parsing.parse_show(
        {
            "id": 1,
            "name": "Show",
            "aggregate_credits": {
                "cast": [
                    {
                        "id": 7,
                        "name": "Lead",
                        "order": 171,
                        "roles": [{"character": "A"}, {"character": ""}, {"character": "B"}],
                    }
                ],
                "crew": [
                    {
                        "id": 8,
                        "name": "Boss",
                        "department": "Production",
                        "jobs": [{"job": "Producer"}, {"job": "Casting"}],
                    }
                ],
            },
        },
        1,
    )
    assert [(c.person_id, c.character, c.order, c.job) for c in show.credits] == [
        (7, "A / B", 0, None),
        (8, None, None, "Producer"),
        (8, None, None, "Casting"),
    ]


def test_crew_is_weighed_by_job_then_department() -> None:
    ranked = ["Director", "Screenplay", "Producer", "Original Music Composer"]
    ranked += ["Director of Photography", "Editor", "Casting"]
    weights = [crew_weight(job, None) for job in ranked]
    assert weights == sorted(weights)
    assert len(set(weights)) == len(weights)
    assert crew_weight("Second Unit", "Directing") > crew_weight("Casting", "Production")
    assert crew_weight(None, None) == crew_weight("Gaffer", "Lighting") == 100


def test_the_same_credit_twice_is_one() -> None:
    twice = [{"id": 7, "name": "A", "character": "X"}, {"id": 7, "name": "A", "character": "X"}]
    movie = parsing.parse_movie({"id": 1, "title": "One", "credits": {"cast": twice}}, 1)
    assert movie.credits == (CreditRecord(7, "A", "cast", character="X", order=0),)


ODD = [None, "", "   ", "text", 0, -1, 7, 1.5, 10**400, float("nan"), True, [], {}, [None, 3, "x"]]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_optional_field_costs_only_itself(odd: Any) -> None:
    body = Catalogue(movies=3).read("movie", 3) or {}
    for key in set(body) - {"id", "title"}:
        movie = parsing.parse_movie({**body, key: odd}, 3)
        assert movie.title == body["title"]
    for key in body["credits"]["cast"][0]:
        changed = copy.deepcopy(body)
        changed["credits"]["cast"][0][key] = odd
        parsing.parse_movie(changed, 3)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_without_an_id_or_a_title_it_is_unusable(odd: Any) -> None:
    with pytest.raises(UnusableRecord):
        parsing.parse_movie({"id": odd, "title": "T"}, 3)
    if not (isinstance(odd, str) and odd.strip()):
        with pytest.raises(UnusableRecord, match="movie 3 has no usable 'title'"):
            parsing.parse_movie({"id": 3, "title": odd}, 3)
        with pytest.raises(UnusableRecord):
            parsing.parse_show({"id": 3, "name": odd}, 3)
        with pytest.raises(UnusableRecord):
            parsing.parse_person({"id": 3, "name": odd}, 3)
    with pytest.raises(UnusableRecord):
        parsing.parse_season({"season_number": odd}, 3, 1)


def test_another_record_than_the_one_asked_for_is_unusable() -> None:
    with pytest.raises(UnusableRecord, match="the id 4 instead of 3"):
        parsing.parse_movie({"id": 4, "title": "Another"}, 3)


def test_a_blank_title_gives_way_to_the_original_one() -> None:
    movie = parsing.parse_movie({"id": 3, "title": " ", "original_title": "Eine"}, 3)
    assert movie.title == "Eine"


def test_text_that_no_database_takes_is_cleaned() -> None:
    body = json.loads('{"id": 3, "title": " Nul\\u0000l \\ud800 "}')
    title = parsing.parse_movie(body, 3).title
    assert title == "Nul\ufffdl \ufffd"
    title.encode()


def test_dates() -> None:
    dates: dict[Any, dt.date | None] = {
        "1999-03-31": dt.date(1999, 3, 31),
        "1999-03-31T00:00:00.000Z": dt.date(1999, 3, 31),
        **dict.fromkeys(["1999", "1999-02-30", "0000-00-00", "31-03-1999", "1999-03-311", ""]),
        19990331: None,
    }
    for given_date, date in dates.items():
        movie = parsing.parse_movie({"id": 3, "title": "T", "release_date": given_date}, 3)
        assert movie.release_date == date, given_date


def test_season_numbers_come_from_the_list_or_the_count() -> None:
    def numbers(**fields: Any) -> tuple[int, ...]:
        return parsing.parse_show({"id": 3, "name": "T", **fields}, 3).season_numbers

    listed = [{"season_number": n} for n in (2, 0, "x", None, 1, 1, -1)]
    assert numbers(seasons=listed, number_of_seasons=9) == (0, 1, 2)
    assert numbers(seasons=[], number_of_seasons=9) == ()
    assert numbers(number_of_seasons=3) == (1, 2, 3)
    assert len(numbers(number_of_seasons=10**7)) == 1000
    assert numbers() == ()


def test_an_episode_without_a_number_is_left_out() -> None:
    episodes = [{"episode_number": None}, {"episode_number": 2, "name": ""}, "junk"]
    season = parsing.parse_season({"season_number": 1, "episodes": episodes}, 3, 1)
    assert [(e.number, e.title) for e in season.episodes] == [(2, None)]


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@st.composite
def _damaged(draw: st.DrawFn, whole: Any) -> Any:
    """Replace some values anywhere in a body by junk, or leave them out."""
    damaged = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = damaged
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inside = place[key]
            if isinstance(inside, dict | list) and inside and draw(st.booleans()):
                place = inside
                continue
            if draw(st.booleans()):
                place[key] = draw(_JUNK)
            else:
                del place[key]
            break
    return damaged


_CATALOGUE = Catalogue(movies=9, shows=9)
_WHOLE = {
    "movie": (_CATALOGUE.read("movie", 7), lambda body: parsing.parse_movie(body, 7)),
    "show": (_CATALOGUE.read("tv", 7), lambda body: parsing.parse_show(body, 7)),
    "season": (_CATALOGUE.season(7, 1), lambda body: parsing.parse_season(body, 7, 1)),
    "person": (_CATALOGUE.read("person", 7), lambda body: parsing.parse_person(body, 7)),
}


# Hypothesis compares the state of `random` before and after, which threads of other tests change.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
@pytest.mark.parametrize("what", _WHOLE)
@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_damaged_is_parsed_or_unusable(what: str, data: st.DataObject) -> None:
    whole, parse = _WHOLE[what]
    body = data.draw(_damaged(whole))
    try:
        record = parse(body)
    except (UnusableRecord, ProviderUnreachable):
        return
    for credit in getattr(record, "credits", ()):
        assert credit.name.strip()
        assert 1 <= credit.person_id < 2**31
