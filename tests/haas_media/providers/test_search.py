"""Which of the candidates is taken, and what is said when none is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.providers.records import Match, NoMatch, ProviderUnreachable
from haas_media.providers.tmdb.likeness import likeness
from haas_media.providers.tmdb.scoring import weigh
from tests.fake_tmdb import Fault

if TYPE_CHECKING:
    from tests.fake_tmdb import Catalogue, FakeTmdb


@pytest.fixture
def films(tmdb: FakeTmdb) -> Catalogue:
    add = tmdb.catalogue.add_movie
    add(603, "The Matrix", "1999-03-31", popularity=85.0)
    add(604, "The Matrix Reloaded", "2003-05-15", popularity=40.0)
    add(1091, "The Thing", "1982-06-25", popularity=40.0)
    add(60935, "The Thing", "2011-10-12", popularity=30.0)
    add(597, "Titanic", "1997-11-18", popularity=120.0)
    add(16535, "Titanic", "1953-04-11", popularity=9.0)
    add(194, "Amélie", "2001-04-25", original_title="Le Fabuleux Destin d'Amélie Poulain")
    add(496243, "Parasite", "2019-05-30", original_title="기생충", popularity=90.0)
    add(900001, "Parasite", "2019-01-01", popularity=0.6)
    add(900002, "Undated", "", popularity=3.0)
    add(900003, "Twins", "2010-01-01", popularity=5.0)
    add(900004, "Twins", "2010-12-01", popularity=4.0)
    return tmdb.catalogue


FILMS: list[tuple[str, int | None, int | str]] = [
    ("The Matrix", 1999, 603),
    ("matrix", 1999, 603),
    ("Matrix, The", 1999, 603),
    ("The Matrix", 1998, 603),
    ("The Matrix", 2000, 603),
    ("The Matrix", None, 603),
    ("The Thing", 1982, 1091),
    ("The Thing", 2011, 60935),
    ("The Thing", 2012, 60935),
    ("Titanic", None, 597),
    ("Titanic", 1953, 16535),
    ("Amelie", 2001, 194),
    ("Le fabuleux destin d’Amélie Poulain", 2001, 194),
    ("Parasite", 2019, 496243),
    ("기생충", 2019, 496243),
    ("Undated", 2001, 900002),
    ("The Thing", None, "several titles.*add the year"),
    ("Twins", 2010, "several titles.*tmdb-900003.*add an id tag"),
    ("The Matrix", 2015, "nothing that is surely.*closest is “The Matrix” \\(1999\\)"),
    ("Matrix Rel", 2003, "finds nothing called “Matrix Rel” \\(2003\\)"),
    ("a4f9c2e871b3d6", None, "finds nothing"),
    ("  ", None, "no title"),
]


@pytest.mark.usefixtures("films")
def test_films(connect) -> None:
    client = connect()
    wrong = []
    for title, year, expected in FILMS:
        found = client.find("movie", title, year)
        if isinstance(found, Match):
            right = found.tmdb_id == expected
        else:
            right = isinstance(expected, str) and bool(re.search(expected, found.reason))
        wrong += [] if right else [(title, year, found)]
    assert wrong == []


def test_a_sure_film_costs_one_request(films: Catalogue, connect, tmdb: FakeTmdb) -> None:
    connect().find("movie", "The Matrix", 1999)
    assert [(s.path, s.query) for s in tmdb.requests] == [
        ("/3/search/movie", {"query": "The Matrix", "include_adult": "false", "year": "1999"})
    ]


def test_a_year_apart_costs_a_second_request(films: Catalogue, connect, tmdb: FakeTmdb) -> None:
    connect().find("movie", "The Matrix", 2000)
    assert [s.query.get("year") for s in tmdb.requests] == ["2000", None]


def test_two_equals_in_a_year_are_not_searched_again(
    films: Catalogue, connect, tmdb: FakeTmdb
) -> None:
    connect().find("movie", "Twins", 2010)
    assert len(tmdb.requests) == 1


SHOWS = {
    ("The Office", 2005): 2316,
    ("The Office (US)", None): 2316,
    ("The Office UK", None): 2996,
    ("The Office", None): None,
    ("Battlestar Galactica", 2004): 1972,
    ("Battlestar Galactica", 2003): 1972,
    # The folder of a show often has the year of a season.
    ("Breaking Bad", 2010): 1396,
    ("Breaking Bad", 2001): None,
}


def test_shows(connect, tmdb: FakeTmdb) -> None:
    add = tmdb.catalogue.add_show
    us, uk = {"origin_country": ["US"]}, {"origin_country": ["GB"]}
    add(2316, "The Office", "2005-03-24", popularity=60.0, also_found_as=["(US)"], **us)
    add(2996, "The Office", "2001-07-09", popularity=20.0, also_found_as=["UK"], **uk)
    add(1972, "Battlestar Galactica", "2004-10-18", popularity=40.0)
    add(501, "Battlestar Galactica", "1978-09-17", popularity=20.0)
    add(1396, "Breaking Bad", "2008-01-20")
    client = connect()
    found = {asked: client.find("tv", *asked) for asked in SHOWS}
    ids = {asked: getattr(match, "tmdb_id", None) for asked, match in found.items()}
    assert ids == SHOWS, found


def test_an_alternative_title_or_a_translation_is_asked_for(connect, tmdb: FakeTmdb) -> None:
    add = tmdb.catalogue.add_movie
    others: dict[str, Any] = {"alternative_titles": {"titles": [{"title": "Bichitos"}]}}
    add(9487, "A Bug's Tale", "1998-11-25", also_found_as=["Bichitos", "Formiche"], **others)
    others = {"translations": {"translations": [{"data": {"title": "Formiche"}}, {"data": None}]}}
    add(9488, "Formigas", "1998-10-02", also_found_as=["Formiche"], **others)
    client = connect()
    found = [client.find("movie", "Bichitos", 1998), client.find("movie", "Formiche", 1998)]
    assert [getattr(match, "tmdb_id", match) for match in found] == [9487, 9488]
    assert isinstance(client.find("movie", "Formiche", 1971), NoMatch)


def test_films_of_other_years_do_not_keep_another_title_from_being_asked_for(
    connect, tmdb: FakeTmdb
) -> None:
    add = tmdb.catalogue.add_movie
    others: dict[str, Any] = {"alternative_titles": {"titles": [{"title": "Bichitos"}]}}
    add(9487, "A Bug's Tale", "1998-11-25", also_found_as=["Bichitos"], **others)
    for number in range(30):
        add(9500 + number, "Bichitos", f"{1950 + number}-01-01", popularity=50.0)
    assert connect().find("movie", "Bichitos", 1998) == Match(9487)


def test_what_a_search_still_finds_though_it_is_gone_is_passed_over(
    connect, tmdb: FakeTmdb
) -> None:
    add = tmdb.catalogue.add_movie
    others: dict[str, Any] = {"alternative_titles": {"titles": [{"title": "Bichitos"}]}}
    add(9487, "A Bug's Tale", "1998-11-25", also_found_as=["Bichitos"], **others)
    add(9488, "A Tale of Bugs", "1998-11-25", also_found_as=["Bichitos"], popularity=99.0)
    tmdb.fail(Fault("status", 404), "/movie/9488", None)
    assert connect().find("movie", "Bichitos", 1998) == Match(9487)


def test_a_search_that_is_not_there_says_of_no_title_that_it_is_not(
    connect, tmdb: FakeTmdb
) -> None:
    tmdb.fail(Fault("status", 404), "/search", None)
    with pytest.raises(ProviderUnreachable, match="HAAS_TMDB_URL"):
        connect().find("movie", "Heat", 1995)


def test_a_word_that_ends_a_title_is_no_country(connect, tmdb: FakeTmdb) -> None:
    add = tmdb.catalogue.add_show
    add(67136, "This Is Us", "2016-09-20", popularity=20.0, origin_country=["US"])
    add(5, "This Is", "2010-01-01", popularity=90.0, origin_country=["US"])
    assert connect().find("tv", "This Is Us", None) == Match(67136)
    assert connect().find("tv", "this is us", None) == Match(67136)
    assert {seen.query["query"].lower() for seen in tmdb.requests} == {"this is us"}


SAME = [
    ("Rocky II", "rocky 2"),
    ("WALL-E", "WALL·E"),
    ("Spiderman", "Spider-Man"),
    ("Oceans Eleven", "Ocean's 11"),
    ("Fast & Furious", "Fast and Furious"),
    ("Kill Bill Vol 1", "Kill Bill: Vol. 1"),
    ("Thing, The", "The Thing"),
    ("Łódź", "Lodz"),
    ("STRASSE", "Straße"),
    ("千と千尋の神隠し", "千と千尋の神隠し"),
    ("Léon", "Leon"),
    ("...", "..."),
    ("Henry Ⅴ", "Henry V"),
]
SURE_WITH_A_YEAR = [
    ("The Office", "Office"),
    ("Dr Strangelove", "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb"),
    ("Dune Part One", "Dune"),
    ("Mission Impossible Fallout", "Mission: Impossible"),
    (
        "Lord of the Rings Fellowship of the Ring",
        "The Lord of the Rings: The Fellowship of the Ring",
    ),
    ("Borat", "Borat: Cultural Learnings of America"),
    ("Inglorious Basterds", "Inglourious Basterds"),
]
OTHER = [
    ("Heat", "Heart"),
    ("Toy Story 3", "Toy Story 2"),
    ("Toy Story", "Toy Story 2"),
    ("Blade Runner", "Blade Runner 2049"),
    ("Dune", "Dune: Part Two"),
    ("It", "It Had to Be You"),
    ("Up", "Upgrade"),
    ("Lord of War", "Lord of the Dance"),
    ("24", "42"),
    ("!!!", "???"),
    ("", "Anything"),
    ("Alien", "Predator"),
]


def test_likeness_of_titles() -> None:
    def both(one: str, other: str) -> tuple[float, float]:
        return likeness(one, other), likeness(other, one)

    assert [pair for pair in SAME if both(*pair) != (1.0, 1.0)] == []
    assert [pair for pair in SURE_WITH_A_YEAR if not 0.8 <= likeness(*pair) < 1.0] == []
    assert [pair for pair in OTHER if max(both(*pair)) >= 0.8] == []


def _answer(*results: dict[str, Any]) -> dict[str, Any]:
    return {"results": list(results)}


def test_results_that_are_none_are_passed_over() -> None:
    for answer in (
        {},
        {"results": None},
        {"results": "many"},
        _answer({}, {"id": None, "title": "T"}, {"id": 1}, {"id": True, "title": "T"}),
        {"results": [None, 3, "x", ["y"]]},
    ):
        assert isinstance(weigh("movie", "T", None, answer), NoMatch)


def test_odd_fields_of_a_result_cost_only_themselves() -> None:
    odd = {
        "id": 1,
        "title": "T",
        "release_date": 7,
        "popularity": "n/a",
        "vote_count": None,
        "origin_country": "US",
    }
    assert isinstance(weigh("movie", "T", None, _answer(odd)), Match)


def test_the_same_result_twice_is_no_rival_of_itself() -> None:
    one = {"id": 1, "title": "T", "release_date": "2000-01-01"}
    assert isinstance(weigh("movie", "T", None, _answer(one, dict(one))), Match)


def test_a_very_long_title_is_still_a_query(connect, tmdb: FakeTmdb) -> None:
    assert isinstance(connect().find("movie", "x" * 5000, None), NoMatch)
    assert len(tmdb.requests[0].query["query"]) <= 250
