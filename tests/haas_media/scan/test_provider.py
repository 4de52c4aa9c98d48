"""A scan with a provider: what is asked, what becomes of the answers, and of there being none."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from haas_media.catalog.models import Credit, Episode, Movie, Person, Season, Show
from haas_media.providers.records import ProviderRefused
from haas_media.tmdb import Outage, RetryPolicy, TmdbClient
from tests.fake_tmdb import FakeTmdb, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.progress import Progress
    from tests.haas_media.scan.shelf import House

QUICK = RetryPolicy(
    retries=1, first_wait=dt.timedelta(milliseconds=5), longest_wait=dt.timedelta(0, 0.02)
)
MATRIX = "The Matrix (1999)/The Matrix (1999).mkv"
KEANU, LANA, LILLY = (64, "Keanu Reeves"), (93, "Lana"), (94, "Lilly")


@pytest.fixture
def tmdb() -> Iterator[FakeTmdb]:
    with FakeTmdb() as fake:
        titles = fake.catalogue
        titles.add_movie(
            603,
            "The Matrix",
            "1999-03-31",
            cast=[(*KEANU, "Neo")],
            crew=[(*LANA, "Director"), (*LILLY, "Director")],
            popularity=80.0,
        )
        titles.add_person(64, "Keanu Reeves")
        titles.add_movie(949, "Heat", "1995-12-15", external_ids={"imdb_id": "tt0113277"})
        titles.add_movie(406, "La Haine", "1995-05-31", also_found_as=["Hate"])
        titles.add_show(
            70523,
            "Dark",
            "2017-12-01",
            seasons={0: ["Making of"], 1: ["Secrets", "Lies", "Past"], 2: ["Beginnings", "Matter"]},
            guests={(1, 2): [(7, "Guest", "Somebody")]},
            external_ids={"imdb_id": "tt5753856", "tvdb_id": 334824},
        )
        yield fake


@pytest.fixture
def client(tmdb: FakeTmdb) -> Iterator[TmdbClient]:
    with connected(tmdb) as opened:
        yield opened


def connected(tmdb: FakeTmdb) -> TmdbClient:
    return TmdbClient(
        "0123456789abcdef0123456789abcdef",
        tmdb.url,
        requests_per_second=1000,
        retries=QUICK,
        outage=Outage(patience=dt.timedelta(milliseconds=300)),
    )


def asked(tmdb: FakeTmdb) -> Counter[str]:
    """Count what was asked since the last time, without people."""
    paths = tmdb.paths()
    tmdb.forget()
    return Counter(path for path in paths if not path.startswith("/person"))


def test_a_film_costs_one_search_and_one_detail_request(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "The Matrix (1999)/The Matrix (1999) 2160p.mkv")
    report = house.scan(provider=client)
    assert asked(tmdb) == {"/search/movie": 1, "/movie/603": 1}
    assert set(house.titles().values()) == {"The Matrix (1999)"}
    assert report.counts()["matched"] == 2
    assert report.counts()["looked_up"] == 1
    assert report.requests == client.requests_made == 2 + report.people
    with house.catalog.reading() as session:
        movie = session.query(Movie).one()
        assert (movie.tmdb_id, movie.source) == (603, "tmdb")
        assert session.query(Person.name).filter_by(id=64).scalar() == "Keanu Reeves"


def test_an_unchanged_library_asks_for_nothing(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Nothing Known (1901).mkv", "4f3a9c1b2d.mkv")
    house.shows.put("Dark/Season 1/Dark S01E01.mkv")
    house.scan(provider=client)
    asked(tmdb)
    report = house.scan(provider=client)
    assert report.requests == 0
    assert tmdb.requests == []


def test_a_show_costs_one_search_one_detail_request_and_one_a_season(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put(
        "Dark/Season 1/Dark S01E01.mkv",
        "Dark/Season 1/Dark S01E02-E03.mkv",
        "Dark/Season 2/Dark S02E01.mkv",
    )
    house.scan(provider=client)
    assert asked(tmdb) == {
        "/search/tv": 1,
        "/tv/70523": 1,
        "/tv/70523/season/1": 1,
        "/tv/70523/season/2": 1,
    }
    assert list(house.titles().values()) == [
        "Dark (2017) S01E01",
        "Dark (2017) S01E02 S01E03",
        "Dark (2017) S02E01",
    ]
    with house.catalog.reading() as session:
        titles = session.scalars(select(Episode.title).join(Season).order_by(Season.number))
        assert set(titles) == {"Secrets", "Lies", "Past", "Beginnings", "Matter"}
        guest = session.query(Credit).filter_by(person_id=7).one()
        assert guest.episode_id is not None


def test_a_new_episode_of_a_known_season_asks_for_nothing(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    house.scan(provider=client)
    asked(tmdb)
    house.shows.put("Dark/Dark S01E02.mkv")
    assert house.scan(provider=client).counts()["matched"] == 2
    assert asked(tmdb) == {}
    assert house.titles()["Dark/Dark S01E02.mkv"] == "Dark (2017) S01E02"


def test_a_new_season_of_a_known_show_costs_one_request(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    house.scan(provider=client)
    asked(tmdb)
    house.shows.put("Dark/Dark S02E01.mkv", "Dark/Dark S00E01.mkv")
    house.scan(provider=client)
    assert asked(tmdb) == {"/tv/70523/season/0": 1, "/tv/70523/season/2": 1}


def test_an_episode_that_has_aired_since_is_asked_for(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put("Dark/Dark S02E01.mkv")
    house.scan(provider=client)
    tmdb.catalogue.add_show(
        70523, "Dark", "2017-12-01", seasons={2: ["Beginnings", "Matter", "Ghosts"], 3: ["Deja-vu"]}
    )
    asked(tmdb)
    house.shows.put("Dark/Dark S02E03.mkv", "Dark/Dark S03E01.mkv")
    house.scan(provider=client)
    assert asked(tmdb) == {"/tv/70523": 1, "/tv/70523/season/2": 1, "/tv/70523/season/3": 1}
    with house.catalog.reading() as session:
        assert session.query(Episode.title).filter_by(title="Ghosts").count() == 1


def test_an_episode_that_the_provider_does_not_know_is_kept_by_its_number(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put("Dark/Dark S01E09.mkv", "Dark/Dark S07E01.mkv")
    report = house.scan(provider=client)
    assert report.counts()["matched"] == 2
    assert list(house.titles().values()) == ["Dark (2017) S01E09", "Dark (2017) S07E01"]


def test_an_absolute_number_is_counted_through_the_seasons(
    house: House, client: TmdbClient
) -> None:
    house.shows.put(*(f"[Group] Dark - {number:02d} [1080p].mkv" for number in (2, 4, 5)))
    house.scan(provider=client)
    assert list(house.titles().values()) == [
        "Dark (2017) S01E02",
        "Dark (2017) S02E01",
        "Dark (2017) S02E02",
    ]
    with house.catalog.reading() as session:
        assert session.query(Episode).filter(Episode.title.is_(None)).count() == 0


def test_a_daily_episode_is_found_by_its_date(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    tmdb.catalogue.add_show(2224, "The Daily Show", "1996-07-22", seasons={1: ["a"], 2010: ["b"]})
    tmdb.catalogue.seasons[2224, 2010]["episodes"][0]["air_date"] = "2010-05-23"
    house.shows.put("The Daily Show/The Daily Show 2010-05-23.mkv")
    house.shows.put("The Daily Show/The Daily Show 2010-05-24.mkv")
    report = house.scan(provider=client)
    assert list(house.titles().values()) == [
        "The Daily Show (1996) S2010E01",
        "The Daily Show (1996)",
    ]
    assert any("2010-05-24" in note for note in report.notes)
    assert asked(tmdb)["/tv/2224/season/2010"] == 1


def test_an_id_tag_costs_no_search(house: House, tmdb: FakeTmdb, client: TmdbClient) -> None:
    house.films.put("Nonsense {tmdb-949}.mkv", "Nonsense {imdb-tt0113277} 2.mkv")
    house.shows.put("Nonsense {tvdb-334824}/S01E01.mkv")
    house.scan(provider=client)
    requests = asked(tmdb)
    assert not any(path.startswith("/search") for path in requests)
    assert requests["/movie/949"] <= 2
    assert set(house.titles().values()) == {"Heat (1995)", "Dark (2017) S01E01"}
    assert house.known() == ["Dark (2017)", "Heat (1995)"]


def test_an_id_tag_goes_before_a_title_of_that_name_that_is_known(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    tmdb.catalogue.add_movie(700, "Solo", "2001-01-01", imdb_id=None, external_ids={})
    house.films.put("Solo (2001).mkv")
    house.scan(provider=client)
    house.films.put("Solo (2001) {imdb-tt0113277}.mkv")
    house.scan(provider=client)
    assert house.titles() == {
        "Solo (2001).mkv": "Solo (2001)",
        "Solo (2001) {imdb-tt0113277}.mkv": "Heat (1995)",
    }


def test_two_names_of_one_film_are_one_title(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    tmdb.catalogue.update("movie", 406, original_title="Hate")
    house.films.put("La Haine (1995).mkv", "Hate (1995).mkv")
    house.scan(provider=client)
    assert set(house.titles().values()) == {"La Haine (1995)"}
    assert house.known() == ["La Haine (1995)"]


def test_what_is_not_found_is_unmatched_with_its_reason(house: House, client: TmdbClient) -> None:
    house.films.put("Nothing Known (1901).mkv", MATRIX)
    report = house.scan(provider=client)
    (unmatched,) = report.libraries[0].unmatched_files
    assert unmatched.path == "Nothing Known (1901).mkv"
    assert "Nothing Known" in unmatched.reason
    assert unmatched.reason.endswith(".")
    assert house.known() == ["The Matrix (1999)"]


def test_a_film_that_only_its_nfo_file_knows_stays_matched(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put("Holiday/Holiday.mkv")
    nfo = "<movie><title>Our Holiday at Sea</title><year>2011</year></movie>"
    house.films.put("Holiday/movie.nfo", text=nfo)
    assert house.scan(provider=client).counts()["matched"] == 1
    asked(tmdb)
    assert house.scan(provider=client).requests == 0
    assert list(house.titles().values()) == ["Our Holiday at Sea (2011)"]


@pytest.mark.parametrize("name", ["Gone {tmdb-424242}.mkv", "Gone {imdb-tt9999999}.mkv"])
def test_an_id_that_nobody_has_fails_that_title_only(
    house: House, client: TmdbClient, name: str
) -> None:
    house.films.put(name, MATRIX)
    report = house.scan(provider=client)
    (unmatched,) = report.libraries[0].unmatched_files
    assert "424242" in unmatched.reason or "tt9999999" in unmatched.reason
    assert "Correct the id tag" in unmatched.reason
    assert house.titles()[MATRIX] == "The Matrix (1999)"
    assert house.known() == ["The Matrix (1999)"]


def test_a_record_that_cannot_be_used_fails_that_title_only(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    tmdb.catalogue.update("movie", 949, title=None, original_title=None)
    house.films.put("Heat {tmdb-949}.mkv", MATRIX)
    report = house.scan(provider=client)
    assert report.counts()["unmatched"] == 1
    assert house.titles()[MATRIX] == "The Matrix (1999)"


def test_a_correction_wins_and_stays(house: House, tmdb: FakeTmdb, client: TmdbClient) -> None:
    house.films.put("The Matrix (1999)/film.mkv")
    house.scan(provider=client)
    house.films.move("The Matrix (1999)", "The Matrix (1999) {tmdb-949}")
    house.scan(provider=client)
    path = "The Matrix (1999) {tmdb-949}/film.mkv"
    assert house.titles() == {path: "Heat (1995)"}
    for refresh in (False, True):
        house.scan(provider=client, refresh_existing=refresh)
        assert house.titles() == {path: "Heat (1995)"}


def test_a_file_that_moved_is_not_asked_for_again(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Heat (1995).mkv")
    house.scan(provider=client)
    asked(tmdb)
    house.films.move(MATRIX, "Elsewhere/The Matrix (1999).mkv")
    assert house.scan(provider=client).requests == 0
    assert house.files()["Elsewhere/The Matrix (1999).mkv"]["tmdb_id"] == 603


def test_titles_of_scans_without_a_provider_are_looked_up_once_there_is_one(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Nothing Known (1901).mkv")
    house.shows.put("[Group] Dark - 04.mkv")
    house.scan()
    assert house.titles()["[Group] Dark - 04.mkv"] == "Dark S01E04"
    house.scan(provider=client)
    assert house.titles() == {
        "Nothing Known (1901).mkv": "unmatched",
        MATRIX: "The Matrix (1999)",
        "[Group] Dark - 04.mkv": "Dark (2017) S02E01",
    }
    assert house.files()[MATRIX]["tmdb_id"] == 603


def test_a_provider_that_is_gone_again_takes_nothing_away(house: House, client: TmdbClient) -> None:
    house.films.put(MATRIX)
    house.scan(provider=client)
    before = house.files()
    house.films.put("Heat (1995).mkv")
    house.scan()
    assert before.items() <= house.files().items()
    assert house.titles()["Heat (1995).mkv"] == "Heat (1995)"


def test_what_could_not_be_reached_waits_for_the_next_scan(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Heat (1995).mkv")
    house.shows.put("Dark/Dark S01E01.mkv")
    tmdb.fail(Fault("status", 503), times=None)
    report = house.scan(provider=client)
    counts = report.counts()
    assert (counts["pending"], counts["unmatched"], counts["matched"]) == (3, 0, 0)
    assert any("next scan asks again" in note for note in report.notes)
    tmdb.up()
    with connected(tmdb) as again:
        counts = house.scan(provider=again).counts()
    assert (counts["pending"], counts["matched"], counts["parsed"]) == (0, 3, 0)
    assert house.known() == ["Dark (2017)", "Heat (1995)", "The Matrix (1999)"]


def test_a_provider_that_is_away_in_the_middle_of_a_scan(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    """The scan ends; what it could not ask for is pending, not unmatched, and asked for next."""
    titles = tmdb.catalogue
    titles.sizes["movie"] = 60
    for number in range(1, 61):
        house.films.put(f"{titles.title('movie', number)} ({titles.year(number)}).mkv")
    house.with_settings(scan=house.settings.scan.model_copy(update={"probe": False}))

    def close_after_a_third(progress: Progress) -> None:
        if progress.phase == "looking up" and len(tmdb.requests) > 40:
            tmdb.down()

    counts = house.scan(provider=client, on_progress=close_after_a_third).counts()
    assert counts["unmatched"] == 0
    assert 0 < counts["matched"] < 60
    assert counts["pending"] == 60 - counts["matched"]
    tmdb.up()
    with connected(tmdb) as again:
        counts = house.scan(provider=again).counts()
    assert (counts["matched"], counts["pending"], counts["parsed"]) == (60, 0, 0)


def test_a_show_of_which_a_season_could_not_be_reached_is_not_half_written(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.shows.put("Dark/Dark S01E01.mkv", "Dark/Dark S02E01.mkv")
    tmdb.fail(Fault("status", 500), path="/tv/70523/season/2", times=None)
    house.scan(provider=client)
    with house.catalog.reading() as session:
        assert session.query(Show.tmdb_id).scalar() is None
        assert session.scalar(select(func.count()).select_from(Credit)) == 0
    tmdb.up()
    with connected(tmdb) as again:
        house.scan(provider=again)
    assert list(house.titles().values()) == ["Dark (2017) S01E01", "Dark (2017) S02E01"]


def test_refused_credentials_fail_the_scan_at_once_and_lose_nothing(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Heat (1995).mkv")
    tmdb.token = "another"
    with pytest.raises(ProviderRefused):
        house.scan(provider=client)
    assert len(house.files()) == 2
    tmdb.token = None
    with connected(tmdb) as again:
        assert house.scan(provider=again).counts()["matched"] == 2


def test_refreshing_reads_known_titles_again(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Nothing Known (1901).mkv")
    house.shows.put("Dark/Dark S01E01.mkv")
    house.scan(provider=client)
    tmdb.catalogue.update("movie", 603, overview="A hacker learns.")
    tmdb.catalogue.add_movie(5, "Nothing Known", "1901-01-01")
    asked(tmdb)
    house.scan(provider=client, refresh_existing=True)
    assert asked(tmdb) == {
        "/movie/603": 1,
        "/search/movie": 1,
        "/movie/5": 1,
        "/tv/70523": 1,
        "/tv/70523/season/1": 1,
    }
    with house.catalog.reading() as session:
        assert session.query(Movie.overview).filter_by(tmdb_id=603).scalar() == "A hacker learns."
    assert house.titles()["Nothing Known (1901).mkv"] == "Nothing Known (1901)"


def test_refreshing_takes_nothing_away_that_the_provider_has_dropped(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX)
    house.scan(provider=client)
    before = house.files()
    tmdb.catalogue.remove("movie", 603)
    report = house.scan(provider=client, refresh_existing=True)
    assert house.files() == before
    assert [note for note in report.notes if "no movie with id 603" in note]


def test_people_are_named_at_once_and_read_in_detail_after(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    cast = [(100 + place, f"Actor {place}", "x") for place in range(30)]
    crew = [(200 + place, f"Grip {place}", "Grip") for place in range(20)]
    tmdb.catalogue.add_movie(
        77, "Crowd", "2001-01-01", cast=cast, crew=[*crew, (300, "The Director", "Director")]
    )
    house.films.put("Crowd (2001).mkv")
    report = house.scan(provider=client)
    assert report.people == 20 + 12
    with house.catalog.reading() as session:
        everybody = session.query(Person).all()
        read = {person.id for person in everybody if person.details_fetched_at}
    assert len(everybody) == 51
    assert {100 + place for place in range(20)} < read
    assert 300 in read
    assert not {120, 129} & read
    asked(tmdb)
    assert house.scan(provider=client).people == 0


def test_people_that_could_not_be_reached_are_read_by_the_next_scan(
    house: House, tmdb: FakeTmdb, client: TmdbClient
) -> None:
    house.films.put(MATRIX)
    tmdb.fail(Fault("status", 503), path="/person/64", times=None)
    house.scan(provider=client)
    tmdb.up()
    with connected(tmdb) as again:
        assert house.scan(provider=again).people == 1


def test_progress_is_seven_tenths_files_and_three_tenths_people(
    house: House, client: TmdbClient
) -> None:
    house.films.put(MATRIX, "Heat (1995).mkv")
    house.shows.put("Dark/Dark S01E01.mkv")
    told = []
    house.scan(provider=client, on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    by_phase = {progress.phase: progress for progress in told}
    assert list(by_phase) == ["walking", "identifying", "probing", "looking up", "people", "done"]
    assert 0.45 < by_phase["looking up"].fraction <= 0.7 < by_phase["people"].fraction
    assert by_phase["looking up"].current
    assert by_phase["done"].counts["found"] == 3


def test_a_title_removed_on_request_does_not_come_back(house: House, client: TmdbClient) -> None:
    from haas_media.library.remove import remove_from_library

    house.films.put(MATRIX)
    house.scan(provider=client)
    remove_from_library(house.catalog, "movie", 603)
    for options in ({}, {"refresh_existing": True}):
        house.scan(provider=client, **options)
        assert house.files()[MATRIX]["state"] == "unmatched"
    house.films.move(MATRIX, "Other/The Matrix (1999).mkv")
    house.scan(provider=client)
    assert house.known() == []
