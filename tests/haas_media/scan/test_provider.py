"""A scan with a provider: what is asked, what becomes of the answers, and of there being none."""

from __future__ import annotations

import datetime as dt
import random
import string
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from haas_media.catalog.models import Credit, Episode, Movie, Person, Season, Show
from haas_media.library.remove import remove_from_library
from haas_media.providers.records import ProviderRefused
from haas_media.providers.tmdb import Outage, RetryPolicy, TmdbClient
from tests.databases import on_both_databases
from tests.fake_tmdb import FakeTmdb, Fault, connected
from tests.haas_media.scan.shelf import House

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.scan import ScanReport

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


def impatient(tmdb: FakeTmdb) -> TmdbClient:
    outage = Outage(patience=dt.timedelta(milliseconds=300))
    return connected(tmdb.url, retries=QUICK, outage=outage)


@dataclass
class Online(House):
    """Two libraries whose scans ask a provider."""

    tmdb: FakeTmdb
    client: TmdbClient

    def scan(self, **options: Any) -> ScanReport:
        return super().scan(**{"provider": self.client, **options})

    def scan_later(self) -> ScanReport:
        """Scan with another client, which knows nothing of an outage."""
        with impatient(self.tmdb) as client:
            return self.scan(provider=client)

    def asked(self) -> Counter[str]:
        """Count what was asked since the last time, without people."""
        paths = self.tmdb.paths()
        self.tmdb.forget()
        return Counter(path for path in paths if not path.startswith("/person"))


@pytest.fixture
def online(house: House, tmdb: FakeTmdb) -> Iterator[Online]:
    with impatient(tmdb) as client:
        yield Online(house.films, house.shows, house.settings, house.catalog, tmdb, client)


@on_both_databases
def test_a_film_costs_one_search_and_one_detail_request(online: Online) -> None:
    online.films.put(MATRIX, "The Matrix (1999)/The Matrix (1999) 2160p.mkv")
    report = online.scan()
    assert online.asked() == {"/search/movie": 1, "/movie/603": 1}
    assert set(online.titles().values()) == {"The Matrix (1999)"}
    assert report.counts()["matched"] == 2
    assert report.counts()["looked_up"] == 1
    assert report.requests == online.client.requests_made == 2 + report.people
    with online.catalog.reading() as session:
        movie = session.query(Movie).one()
        assert (movie.tmdb_id, movie.source) == (603, "tmdb")
        assert session.query(Person.name).filter_by(id=64).scalar() == "Keanu Reeves"


def test_an_unchanged_library_asks_for_nothing(online: Online) -> None:
    online.films.put(MATRIX, "Nothing Known (1901).mkv", "4f3a9c1b2d.mkv")
    online.shows.put("Dark/Season 1/Dark S01E01.mkv")
    online.scan()
    online.asked()
    report = online.scan()
    assert report.requests == 0
    assert online.tmdb.requests == []


@on_both_databases
def test_a_show_costs_one_search_one_detail_request_and_one_a_season(online: Online) -> None:
    online.shows.put(
        "Dark/Season 1/Dark S01E01.mkv",
        "Dark/Season 1/Dark S01E02-E03.mkv",
        "Dark/Season 2/Dark S02E01.mkv",
    )
    online.scan()
    assert online.asked() == {
        "/search/tv": 1,
        "/tv/70523": 1,
        "/tv/70523/season/1": 1,
        "/tv/70523/season/2": 1,
    }
    assert list(online.titles().values()) == [
        "Dark (2017) S01E01",
        "Dark (2017) S01E02 S01E03",
        "Dark (2017) S02E01",
    ]
    with online.catalog.reading() as session:
        titles = session.scalars(select(Episode.title).join(Season).order_by(Season.number))
        assert set(titles) == {"Secrets", "Lies", "Past", "Beginnings", "Matter"}
        guest = session.query(Credit).filter_by(person_id=7).one()
        assert guest.episode_id is not None


def test_a_new_episode_of_a_known_season_costs_nothing_and_a_new_season_one_request(
    online: Online,
) -> None:
    online.shows.put("Dark/Dark S01E01.mkv")
    online.scan()
    online.asked()
    online.shows.put("Dark/Dark S01E02.mkv")
    assert online.scan().counts()["matched"] == 2
    assert online.asked() == {}
    assert online.titles()["Dark/Dark S01E02.mkv"] == "Dark (2017) S01E02"
    online.shows.put("Dark/Dark S02E01.mkv", "Dark/Dark S00E01.mkv")
    online.scan()
    assert online.asked() == {"/tv/70523/season/0": 1, "/tv/70523/season/2": 1}


@on_both_databases
def test_an_episode_that_has_aired_since_is_asked_for(online: Online) -> None:
    online.shows.put("Dark/Dark S02E01.mkv")
    online.scan()
    online.tmdb.catalogue.add_show(
        70523, "Dark", "2017-12-01", seasons={2: ["Beginnings", "Matter", "Ghosts"], 3: ["Deja-vu"]}
    )
    online.asked()
    online.shows.put("Dark/Dark S02E03.mkv", "Dark/Dark S03E01.mkv")
    online.scan()
    assert online.asked() == {"/tv/70523": 1, "/tv/70523/season/2": 1, "/tv/70523/season/3": 1}
    with online.catalog.reading() as session:
        assert session.query(Episode.title).filter_by(title="Ghosts").count() == 1


def test_an_episode_that_the_provider_does_not_know_is_kept_by_its_number(online: Online) -> None:
    online.shows.put("Dark/Dark S01E09.mkv", "Dark/Dark S07E01.mkv")
    report = online.scan()
    assert report.counts()["matched"] == 2
    assert list(online.titles().values()) == ["Dark (2017) S01E09", "Dark (2017) S07E01"]


@on_both_databases
def test_an_absolute_number_is_counted_through_the_seasons(online: Online) -> None:
    online.shows.put(*(f"[Group] Dark - {number:02d} [1080p].mkv" for number in (2, 4, 5)))
    online.scan()
    assert list(online.titles().values()) == [
        "Dark (2017) S01E02",
        "Dark (2017) S02E01",
        "Dark (2017) S02E02",
    ]
    with online.catalog.reading() as session:
        assert session.query(Episode).filter(Episode.title.is_(None)).count() == 0


@on_both_databases
def test_a_number_of_which_no_reading_exists_is_unmatched_with_both(online: Online) -> None:
    online.shows.put("Dark/Season 2/Dark - 65.mkv", "[Group] Dark - 525 [1080p].mkv")
    online.shows.put("Dark/Season 2/Dark - S02E64.mkv", "Dark/Dark S01E01.mkv")
    report = online.scan()
    told = {file.path: file.reason for each in report.libraries for file in each.unmatched_files}
    assert "S02E65 or as episode 65 from" in told.pop("Dark/Season 2/Dark - 65.mkv")
    assert "S05E25 or as episode 525 from" in told.pop("[Group] Dark - 525 [1080p].mkv")
    assert told == {}
    assert online.titles()["Dark/Season 2/Dark - S02E64.mkv"] == "Dark (2017) S02E64"
    assert online.scan().counts()["unmatched"] == 2
    online.tmdb.catalogue.add_show(70523, "Dark", "2017-12-01", seasons={1: ["a"], 2: ["b"] * 65})
    online.scan(refresh_existing=True)
    assert online.titles()["Dark/Season 2/Dark - 65.mkv"] == "Dark (2017) S02E65"


def test_the_provider_decides_which_reading_of_a_number_exists(online: Online) -> None:
    online.tmdb.catalogue.add_show(
        90, "Bureau", "2001-01-01", seasons={1: ["a"] * 3, 2: ["b"] * 9, 5: ["c"] * 25}
    )
    online.shows.put("Bureau/Bureau.525.mkv", "Bureau/Season 2/Bureau - 12.mkv")
    online.shows.put("Bureau/Season 2/Bureau - 05.mkv", "Bureau/Season 1/Bureau - 14.mkv")
    online.shows.put("Bureau/Season 1/Bureau - 99.mkv")
    online.scan()
    assert sorted(online.titles().values()) == [
        "Bureau (2001) S02E05",
        "Bureau (2001) S02E09",
        "Bureau (2001) S05E02",
        "Bureau (2001) S05E25",
        "unmatched",
    ]


@on_both_databases
@pytest.mark.parametrize("known", [False, True])
def test_a_tmdb_id_that_is_gone_gives_way_to_the_imdb_id_beside_it(
    online: Online, known: bool
) -> None:
    ids = (
        '<title>X</title><uniqueid type="tmdb">987654</uniqueid><uniqueid type="imdb">{}</uniqueid>'
    )
    if known:
        online.films.put("Heat (1995).mkv")
        online.shows.put("Dark/Dark S01E02.mkv")
        online.scan()
    online.films.put("x/x.mkv")
    online.films.put("x/movie.nfo", text=f"<movie>{ids.format('tt0113277')}</movie>")
    online.shows.put("X/S01E01.mkv")
    online.shows.put("X/tvshow.nfo", text=f"<tvshow>{ids.format('tt5753856')}</tvshow>")
    online.scan()
    files = online.files()
    assert (files["x/x.mkv"]["is"], files["x/x.mkv"]["state"]) == ("Heat (1995)", "matched")
    assert files["X/S01E01.mkv"]["is"] == "Dark (2017) S01E01"
    assert online.known() == ["Dark (2017)", "Heat (1995)"]
    assert online.scan().counts()["pending"] == 0


@on_both_databases
def test_a_refresh_counts_numbers_and_dates_anew(online: Online) -> None:
    """TMDb's seasons and days are corrected; else a file would hold a wrong episode for ever."""
    add, episodes = online.tmdb.catalogue.add_show, online.tmdb.catalogue.seasons
    add(91, "Talk", "2010-01-01", seasons={1: ["a"]})
    episodes[91, 1]["episodes"][0]["air_date"] = "2010-05-23"
    online.shows.put("[Group] Dark - 04 [1080p].mkv", "Dark/Season 2/Dark - 05.mkv")
    online.shows.put("Talk/Talk 2010-05-23.mkv", "Talk/Talk 2010-05-24.mkv")
    online.scan()
    dark, talk = "Dark (2017)", "Talk (2010)"
    found = list(online.titles().values())
    assert found == [f"{dark} S02E02", f"{talk} S01E01", talk, f"{dark} S02E01"]
    add(70523, "Dark", "2017-12-01", seasons={1: ["a", "b", "c", "d"], 2: ["e", "f"]})
    episodes[91, 1]["episodes"][0]["air_date"] = "2010-05-24"
    online.scan(refresh_existing=True)
    found = list(online.titles().values())
    assert found == [f"{dark} S02E01", talk, f"{talk} S01E01", f"{dark} S01E04"]


@pytest.mark.parametrize(
    "body", [{}, {"success": False, "status_message": "Down."}, {"error": "Rate limited"}]
)
def test_an_answer_that_holds_nothing_is_no_word_on_a_title(
    online: Online, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    online.films.put("Heat {tmdb-949}.mkv")
    monkeypatch.setattr(online.tmdb, "answer", lambda *_: (200, body))
    assert online.scan().counts()["pending"] == 1
    monkeypatch.undo()
    assert online.scan().counts()["matched"] == 1


def test_numbers_without_a_season_are_of_the_only_one(online: Online) -> None:
    online.tmdb.catalogue.add_show(96, "Reef", "2012-01-01", seasons={0: ["s"], 1: ["a"] * 9})
    online.shows.put("Reef/Reef E07-E08.mkv", "Reef/Reef Part 2 of 4.mkv", "Reef/Reef 5of9.mkv")
    online.shows.put("Reef/Reef - 10.mkv")
    online.scan()
    assert sorted(online.titles().values()) == [
        "Reef (2012) S01E02",
        "Reef (2012) S01E05",
        "Reef (2012) S01E07 S01E08",
        "Reef (2012) S01E10",
    ]


@on_both_databases
def test_both_titles_of_a_name_are_asked_for(online: Online) -> None:
    add = online.tmdb.catalogue
    add.add_movie(94, "The Lost Lighthouse", "1987-01-01")
    add.add_show(95, "The Boat", "2011-01-01", seasons={1: ["a"]})
    add.add_show(97, "Space: 1999", "1975-09-04", seasons={1: ["a"]})
    online.films.put("El.Faro.Perdido.AKA.The.Lost.Lighthouse.1987.720p.BluRay.x264-KINO.mkv")
    online.films.put("Nada (2001) aka Nothing.mkv")
    online.shows.put("El Barco AKA The Boat/Season 1/S01E01.mkv", "Space 1999/S01E01.mkv")
    online.shows.put("[Grp] The Boat (TV) - 01.mkv")
    report = online.scan()
    assert sorted(online.titles().values()) == [
        "Space: 1999 (1975) S01E01",
        "The Boat (2011) S01E01",
        "The Boat (2011) S01E01",
        "The Lost Lighthouse (1987)",
        "unmatched",
    ]
    [reason] = [file.reason for each in report.libraries for file in each.unmatched_files]
    assert "“Nada” (2001)" in reason
    online.asked()
    online.shows.put("El Barco AKA The Boat/Season 1/S01E02.mkv")
    online.scan()
    assert "/search/tv" not in online.asked()


def test_the_parts_of_one_day_are_its_episodes_in_order(online: Online) -> None:
    online.tmdb.catalogue.add_show(91, "Talk", "2016-01-01", seasons={1: ["a", "b"]})
    for episode in online.tmdb.catalogue.seasons[91, 1]["episodes"]:
        episode["air_date"] = "2016-03-21"
    online.shows.put("Talk 2016.03.21.Part.2.mkv", "Talk 2016.03.21.Part.1.mkv")
    online.shows.put("Talk 2016.03.21 2of2.mkv", "Talk 2016.03.21.Part.3.mkv")
    online.scan()
    assert dict(online.titles()) == {
        "Talk 2016.03.21 2of2.mkv": "Talk (2016) S01E02",
        "Talk 2016.03.21.Part.1.mkv": "Talk (2016) S01E01",
        "Talk 2016.03.21.Part.2.mkv": "Talk (2016) S01E02",
        "Talk 2016.03.21.Part.3.mkv": "Talk (2016)",
    }


def test_the_country_of_a_show_decides_among_those_of_its_name(online: Online) -> None:
    add = online.tmdb.catalogue.add_show
    add(92, "Ghosts", "2021-01-01", seasons={1: ["a"]}, origin_country=["US"])
    add(93, "Ghosts", "2019-01-01", seasons={1: ["a"]}, origin_country=["GB"])
    online.shows.put("Ghosts (US)/Season 1/S01E01.mkv", "Ghosts (UK)/Season 1/S01E01.mkv")
    online.scan()
    assert sorted(online.titles().values()) == ["Ghosts (2019) S01E01", "Ghosts (2021) S01E01"]


def test_a_daily_episode_is_found_by_its_date(online: Online) -> None:
    online.tmdb.catalogue.add_show(
        2224, "The Daily Show", "1996-07-22", seasons={1: ["a"], 2010: ["b"]}
    )
    online.tmdb.catalogue.seasons[2224, 2010]["episodes"][0]["air_date"] = "2010-05-23"
    online.shows.put("The Daily Show/The Daily Show 2010-05-23.mkv")
    online.shows.put("The Daily Show/The Daily Show 2010-05-24.mkv")
    report = online.scan()
    assert list(online.titles().values()) == [
        "The Daily Show (1996) S2010E01",
        "The Daily Show (1996)",
    ]
    assert any("2010-05-24" in note for note in report.notes)
    assert online.asked()["/tv/2224/season/2010"] == 1


@on_both_databases
def test_a_daily_episode_that_is_there_before_the_provider_knows_it_waits(online: Online) -> None:
    add, today = online.tmdb.catalogue.add_show, dt.datetime.now(dt.UTC).date()
    add(2224, "The Daily Show", "1996-07-22", seasons={1: ["a"]})
    online.shows.put(f"The Daily Show/The Daily Show {today}.mkv")
    for _ in range(2):
        assert online.scan().counts()["pending"] == 1
    add(2224, "The Daily Show", "1996-07-22", seasons={1: ["a"], today.year: ["b"]})
    online.tmdb.catalogue.seasons[2224, today.year]["episodes"][0]["air_date"] = str(today)
    assert online.scan().counts()["matched"] == 1
    assert list(online.titles().values()) == [f"The Daily Show (1996) S{today.year}E01"]
    online.asked()
    online.scan()
    assert online.asked() == {}


def test_an_absolute_number_is_counted_into_a_season_that_is_new(online: Online) -> None:
    online.shows.put("[Group] Dark - 05 [1080p].mkv")
    online.scan()
    seasons = {1: ["Secrets", "Lies", "Past"], 2: ["Beginnings", "Matter"], 3: ["Deja-vu"]}
    online.tmdb.catalogue.add_show(70523, "Dark", "2017-12-01", seasons=seasons)
    online.shows.put("[Group] Dark - 06 [1080p].mkv")
    online.scan()
    assert list(online.titles().values()) == ["Dark (2017) S02E02", "Dark (2017) S03E01"]


@on_both_databases
def test_an_id_tag_costs_no_search(online: Online) -> None:
    online.films.put("Nonsense {tmdb-949}.mkv", "Nonsense {imdb-tt0113277} 2.mkv")
    online.shows.put("Nonsense {tvdb-334824}/S01E01.mkv")
    online.scan()
    requests = online.asked()
    assert not any(path.startswith("/search") for path in requests)
    assert requests["/movie/949"] <= 2
    assert set(online.titles().values()) == {"Heat (1995)", "Dark (2017) S01E01"}
    assert online.known() == ["Dark (2017)", "Heat (1995)"]


def test_an_id_tag_goes_before_a_title_of_that_name_that_is_known(online: Online) -> None:
    online.tmdb.catalogue.add_movie(700, "Solo", "2001-01-01", imdb_id=None, external_ids={})
    online.films.put("Solo (2001).mkv")
    online.scan()
    online.films.put("Solo (2001) {imdb-tt0113277}.mkv")
    online.scan()
    assert online.titles() == {
        "Solo (2001).mkv": "Solo (2001)",
        "Solo (2001) {imdb-tt0113277}.mkv": "Heat (1995)",
    }


@on_both_databases
def test_two_names_of_one_film_are_one_title(online: Online) -> None:
    online.tmdb.catalogue.update("movie", 406, original_title="Hate")
    online.films.put("La Haine (1995).mkv", "Hate (1995).mkv")
    online.scan()
    assert set(online.titles().values()) == {"La Haine (1995)"}
    assert online.known() == ["La Haine (1995)"]


@on_both_databases
def test_what_is_not_found_is_unmatched_with_its_reason(online: Online) -> None:
    online.films.put("Nothing Known (1901).mkv", MATRIX)
    online.shows.put("Nobody Knows/Nobody Knows S01E01.mkv")
    report = online.scan()
    films, shows = (library.unmatched_files[0] for library in report.libraries)
    assert (films.path, shows.path) == (
        "Nothing Known (1901).mkv",
        "Nobody Knows/Nobody Knows S01E01.mkv",
    )
    for unmatched, title in ((films, "Nothing Known"), (shows, "Nobody Knows")):
        assert title in unmatched.reason
        assert unmatched.reason.endswith(".")
    assert online.known() == ["The Matrix (1999)"]


def test_an_extra_makes_no_title_of_what_is_not_found(online: Online) -> None:
    film, extra = (
        f"Nothing Known (1901)/Nothing Known (1901){end}.mkv" for end in ("", "-trailer")
    )
    online.films.put(film, extra)
    for refresh in (False, True):
        assert online.scan(refresh_existing=refresh).counts()["unmatched"] == 1
        assert online.titles() == {film: "unmatched", extra: "trailer"}
    assert online.known() == []


def test_a_film_that_only_its_nfo_file_knows_stays_matched(online: Online) -> None:
    online.films.put("Holiday/Holiday.mkv")
    nfo = "<movie><title>Our Holiday at Sea</title><year>2011</year></movie>"
    online.films.put("Holiday/movie.nfo", text=nfo)
    assert online.scan().counts()["matched"] == 1
    online.asked()
    assert online.scan().requests == 0
    assert list(online.titles().values()) == ["Our Holiday at Sea (2011)"]


@pytest.mark.parametrize("name", ["Gone {tmdb-424242}.mkv", "Gone {imdb-tt9999999}.mkv"])
def test_an_id_that_nobody_has_fails_that_title_only(online: Online, name: str) -> None:
    online.films.put(name, MATRIX)
    report = online.scan()
    (unmatched,) = report.libraries[0].unmatched_files
    assert "424242" in unmatched.reason or "tt9999999" in unmatched.reason
    assert "Correct the id tag" in unmatched.reason
    assert online.titles()[MATRIX] == "The Matrix (1999)"
    assert online.known() == ["The Matrix (1999)"]


def test_an_id_tag_of_a_show_is_not_given_up_for_its_title(online: Online) -> None:
    online.shows.put("Dark {tmdb-424242}/S01E01.mkv", "Lost {tmdb-424242} {tvdb-9}/S01E01.mkv")
    report = online.scan()
    told = {file.path: file.reason for each in report.libraries for file in each.unmatched_files}
    assert len(told) == 2
    assert all("no show with id 424242" in reason for reason in told.values())


def test_the_title_in_an_nfo_file_is_searched_for_where_its_id_is_gone(online: Online) -> None:
    gone = "<uniqueid type='tmdb'>424242</uniqueid>"
    online.films.put("x/x.mkv")
    nfo = f"<movie><title>Heat</title><year>1995</year>{gone}</movie>"
    online.films.put("x/movie.nfo", text=nfo)
    online.shows.put("x/S01E01.mkv")
    online.shows.put("x/tvshow.nfo", text=f"<tvshow><title>Dark</title>{gone}</tvshow>")
    online.scan()
    assert sorted(online.titles().values()) == ["Dark (2017) S01E01", "Heat (1995)"]


def test_a_record_that_cannot_be_used_fails_that_title_only(online: Online) -> None:
    online.tmdb.catalogue.update("movie", 949, title=None, original_title=None)
    online.films.put("Heat {tmdb-949}.mkv", MATRIX)
    report = online.scan()
    assert report.counts()["unmatched"] == 1
    assert online.titles()[MATRIX] == "The Matrix (1999)"


def test_a_correction_wins_and_stays(online: Online) -> None:
    online.films.put("The Matrix (1999)/film.mkv")
    online.scan()
    online.films.move("The Matrix (1999)", "The Matrix (1999) {tmdb-949}")
    online.scan()
    path = "The Matrix (1999) {tmdb-949}/film.mkv"
    assert online.titles() == {path: "Heat (1995)"}
    for refresh in (False, True):
        online.scan(refresh_existing=refresh)
        assert online.titles() == {path: "Heat (1995)"}


def test_a_file_that_moved_is_not_asked_for_again(online: Online) -> None:
    online.films.put(MATRIX, "Heat (1995).mkv")
    online.scan()
    online.asked()
    online.films.move(MATRIX, "Elsewhere/The Matrix (1999).mkv")
    assert online.scan().requests == 0
    assert online.files()["Elsewhere/The Matrix (1999).mkv"]["tmdb_id"] == 603


@on_both_databases
def test_titles_of_scans_without_a_provider_are_looked_up_once_there_is_one(online: Online) -> None:
    online.films.put(MATRIX, "Nothing Known (1901).mkv")
    online.shows.put("[Group] Dark - 04.mkv")
    online.scan(provider=None)
    assert online.titles()["[Group] Dark - 04.mkv"] == "Dark S01E04"
    online.scan()
    assert online.titles() == {
        "Nothing Known (1901).mkv": "unmatched",
        MATRIX: "The Matrix (1999)",
        "[Group] Dark - 04.mkv": "Dark (2017) S02E01",
    }
    assert online.files()[MATRIX]["tmdb_id"] == 603


def test_a_provider_that_is_gone_again_takes_nothing_away(online: Online) -> None:
    online.films.put(MATRIX)
    online.scan()
    before = online.files()
    online.films.put("Heat (1995).mkv")
    online.scan(provider=None)
    assert before.items() <= online.files().items()
    assert online.titles()["Heat (1995).mkv"] == "Heat (1995)"


def test_what_only_a_provider_can_count_waits_for_it_where_it_has_told_before(
    online: Online,
) -> None:
    online.shows.put("Dark/Dark S01E01.mkv")
    online.scan()
    online.shows.put("Dark/Dark - 05.mkv", "Dark/Dark S01E02.mkv")
    assert online.scan(provider=None).counts()["pending"] == 1
    assert online.scan().counts()["pending"] == 0
    assert online.titles()["Dark/Dark - 05.mkv"] == "Dark (2017) S02E02"


@on_both_databases
def test_what_could_not_be_reached_waits_for_the_next_scan(online: Online) -> None:
    online.films.put(MATRIX, "Heat (1995).mkv")
    online.shows.put("Dark/Dark S01E01.mkv")
    online.tmdb.fail(Fault("status", 503), times=None)
    report = online.scan()
    counts = report.counts()
    assert (counts["pending"], counts["unmatched"], counts["matched"]) == (3, 0, 0)
    assert any("next scan asks again" in note for note in report.notes)
    online.tmdb.up()
    counts = online.scan_later().counts()
    assert (counts["pending"], counts["matched"], counts["parsed"]) == (0, 3, 0)
    assert online.known() == ["Dark (2017)", "Heat (1995)", "The Matrix (1999)"]


def test_what_no_search_has_answered_is_not_taken_for_unknown(
    online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may answer anything with an object that has nothing in it."""
    online.films.put(MATRIX, "x {imdb-tt0113277}.mkv")
    online.shows.put("Dark/Dark S01E01.mkv")
    monkeypatch.setattr(online.tmdb, "_search", lambda *_: (200, {}))
    monkeypatch.setattr(online.tmdb.catalogue, "find", lambda *_: {})
    assert online.scan().counts()["pending"] == 3
    monkeypatch.undo()
    assert online.scan().counts()["matched"] == 3


@pytest.mark.parametrize("gap", ["season", "episodes", "seasons"])
def test_an_absolute_number_is_not_counted_through_a_season_that_is_not_told(
    online: Online, gap: str
) -> None:
    online.shows.put("[Group] Dark - 05 [1080p].mkv")
    titles = online.tmdb.catalogue
    show, season = titles.read("tv", 70523), titles.seasons[70523, 1]
    if gap == "seasons":
        titles.added["tv", 70523] = {k: v for k, v in show.items() if "seasons" not in k}
    elif gap == "season":
        del titles.seasons[70523, 1]
    else:
        titles.seasons[70523, 1] = {k: v for k, v in season.items() if k != "episodes"}
    assert online.scan().counts()["pending"] == 1
    titles.added["tv", 70523], titles.seasons[70523, 1] = show, season
    online.scan()
    assert list(online.titles().values()) == ["Dark (2017) S02E02"]


@on_both_databases
def test_a_show_of_which_a_season_could_not_be_reached_is_not_half_written(online: Online) -> None:
    online.shows.put("Dark/Dark S01E01.mkv", "Dark/Dark S02E01.mkv")
    online.tmdb.fail(Fault("status", 500), path="/tv/70523/season/2", times=None)
    online.scan()
    with online.catalog.reading() as session:
        assert session.query(Show.tmdb_id).scalar() is None
        assert session.scalar(select(func.count()).select_from(Credit)) == 0
    online.tmdb.up()
    online.scan_later()
    assert list(online.titles().values()) == ["Dark (2017) S01E01", "Dark (2017) S02E01"]


def test_refused_credentials_fail_the_scan_at_once_and_lose_nothing(online: Online) -> None:
    online.films.put(MATRIX, "Heat (1995).mkv")
    online.tmdb.token = "another"
    with pytest.raises(ProviderRefused):
        online.scan()
    assert len(online.files()) == 2
    online.tmdb.token = None
    assert online.scan_later().counts()["matched"] == 2


def test_refreshing_reads_known_titles_again(online: Online) -> None:
    online.films.put(MATRIX, "Nothing Known (1901).mkv")
    online.shows.put("Dark/Dark S01E01.mkv")
    online.scan()
    online.tmdb.catalogue.update("movie", 603, overview="A hacker learns.")
    online.tmdb.catalogue.add_movie(5, "Nothing Known", "1901-01-01")
    online.asked()
    online.scan(refresh_existing=True)
    assert online.asked() == {
        "/movie/603": 1,
        "/search/movie": 1,
        "/movie/5": 1,
        "/tv/70523": 1,
        "/tv/70523/season/1": 1,
    }
    with online.catalog.reading() as session:
        assert session.query(Movie.overview).filter_by(tmdb_id=603).scalar() == "A hacker learns."
    assert online.titles()["Nothing Known (1901).mkv"] == "Nothing Known (1901)"


@on_both_databases
def test_a_wrong_tag_that_was_believed_for_others_of_its_name_is_undone_by_a_refresh(
    online: Online,
) -> None:
    film = "Heat (1995)/Heat (1995).mkv"
    wrong, right = "Heat (1995) {tmdb-406}.mkv", "La Haine (1995) {tmdb-406}.mkv"
    online.films.put(film, wrong)
    online.scan()
    online.scan(refresh_existing=True)
    assert set(online.titles().values()) == {"La Haine (1995)"}, "the one tag is of both"
    online.films.move(wrong, right)
    online.scan(refresh_existing=True)
    assert online.titles() == {film: "Heat (1995)", right: "La Haine (1995)"}


def test_a_wrong_id_beside_another_that_was_believed_for_others_is_undone_by_a_refresh(
    online: Online,
) -> None:
    ids = "<tmdbid>603</tmdbid><imdbid>tt0113277</imdbid>"
    online.films.put("m/m.mkv", "h/h.mkv")
    online.films.put("m/m.nfo", text=f"<movie><title>The Matrix</title>{ids}</movie>")
    online.films.put("h/h.nfo", text="<movie><title>Heat</title><imdbid>tt0113277</imdbid></movie>")
    online.scan()
    for _ in range(2):
        online.scan(refresh_existing=True)
        assert online.titles() == {"h/h.mkv": "Heat (1995)", "m/m.mkv": "The Matrix (1999)"}


def test_refreshing_takes_nothing_away_that_the_provider_has_dropped(online: Online) -> None:
    online.films.put(MATRIX)
    online.scan()
    before = online.files()
    online.tmdb.catalogue.remove("movie", 603)
    report = online.scan(refresh_existing=True)
    assert online.files() == before
    assert [note for note in report.notes if "no movie with id 603" in note]


@on_both_databases
def test_people_are_named_at_once_and_read_in_detail_after(online: Online) -> None:
    cast = [(100 + place, f"Actor {place}", "x") for place in range(30)]
    crew = [(200 + place, f"Grip {place}", "Grip") for place in range(20)]
    online.tmdb.catalogue.add_movie(
        77, "Crowd", "2001-01-01", cast=cast, crew=[*crew, (300, "The Director", "Director")]
    )
    online.films.put("Crowd (2001).mkv")
    report = online.scan()
    assert report.people == 20 + 12
    with online.catalog.reading() as session:
        everybody = session.query(Person).all()
        read = {person.id for person in everybody if person.details_fetched_at}
    assert len(everybody) == 51
    assert {100 + place for place in range(20)} < read
    assert 300 in read
    assert not {120, 129} & read
    online.asked()
    assert online.scan().people == 0


def test_progress_is_seven_tenths_files_and_three_tenths_people(online: Online) -> None:
    online.films.put(MATRIX, "Heat (1995).mkv")
    online.shows.put("Dark/Dark S01E01.mkv")
    told = []
    online.scan(on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    by_phase = {progress.phase: progress for progress in told}
    assert list(by_phase) == ["walking", "identifying", "probing", "looking up", "people", "done"]
    assert 0.45 < by_phase["looking up"].fraction <= 0.7 < by_phase["people"].fraction
    assert by_phase["looking up"].current
    assert by_phase["done"].counts["found"] == 3


@on_both_databases
def test_a_title_removed_on_request_does_not_come_back(online: Online) -> None:
    online.films.put(MATRIX)
    online.scan()
    remove_from_library(online.catalog, "movie", 603)
    for options in ({}, {"refresh_existing": True}):
        online.scan(**options)
        assert online.files()[MATRIX]["state"] == "unmatched"
    online.films.move(MATRIX, "Other/The Matrix (1999).mkv")
    online.scan()
    assert online.known() == []


@pytest.mark.parametrize("asked_for", ["/3/movie/603", "/3/tv/70523"])
def test_a_title_that_is_removed_while_it_is_asked_for_does_not_come_back(
    online: Online, asked_for: str
) -> None:
    kind, tmdb_id = ("movie", 603) if "movie" in asked_for else ("tv", 70523)
    online.films.put(MATRIX)
    online.shows.put("Dark/Dark S01E01.mkv")
    online.scan()
    assert online.known() == ["Dark (2017)", "The Matrix (1999)"]
    answer = online.tmdb.answer

    def remove_then_answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == asked_for:
            remove_from_library(online.catalog, kind, tmdb_id)  # type: ignore[arg-type]
        return answer(path, query)

    online.tmdb.answer = remove_then_answer  # type: ignore[method-assign]
    online.scan(refresh_existing=True)
    assert len(online.known()) == 1
    assert sorted(file["state"] for file in online.files().values()) == ["matched", "unmatched"]


@on_both_databases
def test_a_title_as_long_as_a_page_is_a_title(online: Online) -> None:
    some = random.Random(1)
    page = "".join(some.choices(string.ascii_letters + string.digits, k=8000))
    online.tmdb.catalogue.add_movie(604, page, "1999-03-31")
    online.films.put(MATRIX, "x {tmdb-604}.mkv")
    for _ in range(2):
        assert online.scan().counts()["matched"] == 2
        assert set(online.known()) == {f"{page} (1999)", "The Matrix (1999)"}
