"""An id tag in a name, then an NFO file, then the name; a correction always wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Movie
from haas_media.scan import compare as comparing
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.scan import ScanReport
    from tests.haas_media.scan.shelf import House

STALKER = "<movie><title>Stalker</title><year>1979</year><plot>The Zone.</plot>{}</movie>"
DARK = "<tvshow><title>Dark</title><premiered>2017-12-01</premiered>{}</tvshow>"


def reasons(report: ScanReport) -> dict[str, str]:
    return {
        file.path: file.reason for library in report.libraries for file in library.unmatched_files
    }


def episode(season: int, number: int, more: str = "") -> str:
    return (
        f"<episodedetails><season>{season}</season><episode>{number}</episode>{more}"
        "</episodedetails>"
    )


@pytest.mark.parametrize("name", ["movie.nfo", "Movie.NFO", "stlkr.nfo"])
def test_an_nfo_file_goes_before_the_name(house: House, name: str) -> None:
    house.films.put("Heat (1995)/stlkr.mkv")
    house.films.put(f"Heat (1995)/{name}", text=STALKER.format(""))
    house.scan()
    assert house.titles() == {"Heat (1995)/stlkr.mkv": "Stalker (1979)"}


def test_the_videos_own_nfo_goes_before_the_folders(house: House) -> None:
    house.films.put("a/Heat (1995).mkv")
    house.films.put("a/Heat (1995).nfo", text=STALKER.format(""))
    house.films.put("a/movie.nfo", text="<movie><title>Ran</title></movie>")
    house.scan()
    assert list(house.titles().values()) == ["Stalker (1979)"]


def test_an_id_tag_goes_before_an_nfo_file(house: House) -> None:
    """One with another id is of another title: nothing that it tells is taken."""
    house.films.put("Heat (1995) {tmdb-949}/Heat.mkv")
    nfo = STALKER.format("<tmdbid>1398</tmdbid>")
    house.films.put("Heat (1995) {tmdb-949}/movie.nfo", text=nfo)
    house.shows.put("Dark (2017) {tmdb-70523}/S01E01.mkv")
    nfo = nfo.replace("movie", "tvshow")
    house.shows.put("Dark (2017) {tmdb-70523}/tvshow.nfo", text=nfo)
    house.scan()
    files = {(file["is"], file["tmdb_id"]) for file in house.files().values()}
    assert files == {("Heat (1995)", 949), ("Dark (2017) S01E01", 70523)}
    with house.catalog.reading() as session:
        assert session.query(Movie.overview).scalar() is None


def test_a_bare_address_with_a_name(house: House) -> None:
    house.films.put("Stalker (1979)/Stalker.mkv")
    house.films.put("Stalker (1979)/movie.nfo", text="https://www.themoviedb.org/movie/1398")
    house.scan()
    assert house.files()["Stalker (1979)/Stalker.mkv"]["tmdb_id"] == 1398
    assert house.known() == ["Stalker (1979)"]


def test_movie_nfo_is_not_taken_for_a_folder_of_several_films(house: House) -> None:
    house.films.put("Heat (1995).mkv", "Ran (1985).mkv")
    house.films.put("movie.nfo", text=STALKER.format(""))
    house.scan()
    assert set(house.titles().values()) == {"Heat (1995)", "Ran (1985)"}


def test_movie_nfo_is_taken_for_all_versions_of_one_film(house: House) -> None:
    house.films.put("S/Stlkr (1979) 720p.mkv", "S/Stlkr (1979) 1080p.mkv", "S/trailer.mkv")
    house.films.put("S/movie.nfo", text=STALKER.format(""))
    house.scan()
    assert house.titles()["S/Stlkr (1979) 720p.mkv"] == "Stalker (1979)"
    assert house.titles()["S/Stlkr (1979) 1080p.mkv"] == "Stalker (1979)"


@on_both_databases
@pytest.mark.parametrize("disc", ["VIDEO_TS/VTS_01_1.VOB", "BDMV/STREAM/00001.m2ts", "CD1/a.avi"])
def test_movie_nfo_is_taken_for_the_discs_below_it(house: House, disc: str) -> None:
    house.films.put(f"S/{disc}", "S/Other/x.mkv")
    house.films.put("S/movie.nfo", text=STALKER.format(""))
    house.scan()
    titles = house.titles()
    file = disc.partition("/")[0] if disc[:2] != "CD" else disc
    assert titles[f"S/{file}"] == "Stalker (1979)"
    assert titles["S/Other/x.mkv"] != "Stalker (1979)"
    house.films.put("S/movie.nfo", text="<movie><title>Ran</title><year>1985</year></movie>")
    house.scan()
    assert house.titles()[f"S/{file}"] == "Ran (1985)"


@on_both_databases
def test_a_title_in_one_file_on_a_disc_or_in_parts_is_one(house: House) -> None:
    from haas_media.catalog.models import MediaFile

    house.films.put("Heat (1995)/Heat (1995) cd2.avi", "Heat (1995)/Heat (1995) cd1.avi")
    house.films.put(*(f"Ran (1985)/VIDEO_TS/VTS_01_{number}.VOB" for number in range(3)))
    house.films.put("Ikiru (1952)/BDMV/index.bdmv", "Ikiru (1952)/BDMV/STREAM/00001.m2ts")
    house.films.put("Ikiru (1952)/Ikiru (1952) - 1080p {edition-Restored}.mkv")
    house.films.put("Yojimbo (1961).iso", "Sanjuro (1962).strm")
    house.films.put("Kagemusha (1980)/VIDEO_TS/a.vob", "Kagemusha (1980)/VIDEO_TS/b.mkv")
    report = house.scan()
    assert report.counts() | {"found": 9, "new": 9, "probed": 5, "unmatched": 0} == report.counts()
    with house.catalog.reading() as session:
        files = {
            file.path: (file.edition, file.version, file.part, file.size)
            for file in session.query(MediaFile).order_by(MediaFile.path)
        }
        size = files["Heat (1995)/Heat (1995) cd1.avi"][3]
        assert files == {
            "Heat (1995)/Heat (1995) cd1.avi": (None, None, 1, size),
            "Heat (1995)/Heat (1995) cd2.avi": (None, None, 2, size),
            "Ikiru (1952)/BDMV": (None, None, None, size),
            "Ikiru (1952)/Ikiru (1952) - 1080p {edition-Restored}.mkv": (
                *("Restored", "1080p", None),
                size,
            ),
            "Kagemusha (1980)/VIDEO_TS/a.vob": (None, None, None, size),
            "Kagemusha (1980)/VIDEO_TS/b.mkv": (None, None, None, size),
            "Ran (1985)/VIDEO_TS": (None, None, None, 3 * size),
            "Sanjuro (1962).strm": (None, None, None, size),
            "Yojimbo (1961).iso": (None, None, None, size),
        }
    assert len(house.known()) == 6
    again = house.scan().counts()
    assert (again["unchanged"], again["probed"]) == (9, 0)
    house.films.put("Ran (1985)/VIDEO_TS/VTS_02_1.VOB")
    assert house.scan().counts()["changed"] == 1


@pytest.mark.parametrize("nfo", ["BDMV/index.nfo", "VIDEO_TS/VIDEO_TS.nfo"])
def test_the_nfo_file_of_a_disc_lies_in_it(house: House, nfo: str) -> None:
    disc = nfo.partition("/")[0]
    house.films.put(f"x/{disc}/00001.m2ts")
    house.scan()
    house.films.put(f"x/{nfo}", text=STALKER.format(""))
    house.scan()
    assert house.titles() == {f"x/{disc}": "Stalker (1979)"}


def test_a_disc_of_a_show_is_said_to_hold_several_episodes(house: House) -> None:
    house.shows.put("Dark/Season 1/Disc 1/BDMV/STREAM/00001.m2ts", "Dark/Dark Season 2.mkv")
    told = reasons(house.scan())
    assert "several episodes" in told["Dark/Season 1/Disc 1/BDMV"]
    assert "season 2" in told["Dark/Dark Season 2.mkv"]


@on_both_databases
def test_what_an_nfo_file_tells_is_kept_without_a_provider(house: House) -> None:
    from haas_media.catalog.models import Movie

    house.films.put("S/x.mkv")
    more = "<runtime>162</runtime><genre>Drama</genre><premiered>1979-05-25</premiered>"
    house.films.put("S/movie.nfo", text=STALKER.format(more))
    house.scan()
    with house.catalog.reading() as session:
        movie = session.query(Movie).one()
        assert (movie.overview, movie.runtime, movie.genres) == ("The Zone.", 162, ["Drama"])
        assert (str(movie.release_date), movie.source) == ("1979-05-25", "nfo")


@on_both_databases
def test_a_show_by_its_nfo_file(house: House) -> None:
    house.shows.put("drk/Season 1/drk.S01E01.mkv", "drk/Season 1/drk.S01E02.mkv")
    house.shows.put("drk/tvshow.nfo", text=DARK.format("<uniqueid type='tmdb'>70523</uniqueid>"))
    house.scan()
    assert set(house.titles().values()) == {"Dark (2017) S01E01", "Dark (2017) S01E02"}
    assert {file["tmdb_id"] for file in house.files().values()} == {70523}


@on_both_databases
def test_an_episode_by_its_nfo_file(house: House) -> None:
    house.shows.put("Dark/pilot.mkv")
    house.shows.put("Dark/pilot.nfo", text=episode(1, 1, "<title>Secrets</title>"))
    house.shows.put("Dark/tvshow.nfo", text=DARK.format(""))
    house.scan()
    assert list(house.titles().values()) == ["Dark (2017) S01E01"]
    from haas_media.catalog.models import Episode

    with house.catalog.reading() as session:
        assert session.query(Episode.title).scalar() == "Secrets"


def test_episode_numbers_in_an_nfo_file_go_before_the_name(house: House) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    house.shows.put("Dark/Dark S01E01.nfo", text=episode(0, 7) + episode(0, 8))
    house.scan()
    assert list(house.titles().values()) == ["Dark S00E07 S00E08"]


def test_a_show_nfo_in_a_folder_that_sorts_names_no_show(house: House) -> None:
    house.shows.put("Drama/Lost/Season 1/S01E01.mkv", "Drama/Heimat/S01E01.mkv")
    house.shows.put("Drama/tvshow.nfo", text=DARK.format(""))
    house.scan()
    assert sorted(house.titles().values()) == ["Heimat S01E01", "Lost S01E01"]


def test_a_title_of_wrong_letters_never_goes_before_a_good_folder(house: House) -> None:
    wrong, nfo = '<?xml version="1.0" encoding="iso-8859-1"?>', "<movie><title>{}</title></movie>"
    files = {
        "Брат (1997)": (wrong + nfo).format("Брат").encode("cp1251"),
        "Сестра (1998)": nfo.format("Сестра").encode("koi8-r"),
        "אור בים (1999)": nfo.format("אור בים").encode("cp1255"),
        "映画の話 (2000)": nfo.format("映画の話").encode("shift_jis"),
    }
    for folder, data in files.items():
        house.films.put(f"{folder}/1.mkv")
        house.films.put(f"{folder}/movie.nfo", text=data)
    house.scan()
    assert sorted(house.titles().values()) == sorted(files)


def test_the_id_of_an_episode_is_not_taken_for_the_shows(house: House) -> None:
    house.shows.put("Dark/Dark S01E01.mkv")
    more = "<uniqueid type='tmdb'>12345</uniqueid><showtitle>Dark</showtitle>"
    house.shows.put("Dark/Dark S01E01.nfo", text=episode(1, 1, more))
    house.scan()
    assert next(iter(house.files().values()))["tmdb_id"] is None


def test_a_malformed_nfo_file_fails_that_title_only(house: House) -> None:
    house.films.put("Stalker (1979)/Stalker.mkv", "Heat (1995)/Heat.mkv")
    house.films.put("Stalker (1979)/movie.nfo", text="<movie><title>Stalker</movie>")
    report = house.scan()
    assert report.counts()["matched"] == 1
    (reason,) = reasons(report).values()
    assert reason == (
        "Its NFO file movie.nfo cannot be used: it is malformed XML (line 1: mismatched tag). "
        "Mend or remove it."
    )


def test_a_malformed_show_nfo_fails_that_show_only(house: House) -> None:
    house.shows.put("Dark/Season 1/Dark S01E01.mkv", "Lost/Season 1/Lost S01E01.mkv")
    house.shows.put("Dark/tvshow.nfo", text="<tvshow>")
    report = house.scan()
    assert list(reasons(report)) == ["Dark/Season 1/Dark S01E01.mkv"]
    assert house.titles()["Lost/Season 1/Lost S01E01.mkv"] == "Lost S01E01"


def test_a_malformed_nfo_file_does_not_matter_where_an_id_tag_decides(house: House) -> None:
    house.films.put("Heat {tmdb-949}/Heat.mkv")
    house.films.put("Heat {tmdb-949}/movie.nfo", text="<movie>")
    report = house.scan()
    assert report.counts()["matched"] == 1
    (problem,) = report.libraries[0].problems
    assert "movie.nfo cannot be used" in problem.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<movie><title>Stalker</movie>", STALKER.format("")),
        ("", STALKER.format("")),
        ("<movie><title>Ran</title></movie>", STALKER.format("")),
    ],
)
def test_an_nfo_file_that_is_corrected_is_read_again(house: House, before: str, after: str) -> None:
    house.films.put("x/4f3a9c1b2d.mkv", "Heat (1995)/Heat (1995).mkv")
    if before:
        house.films.put("x/movie.nfo", text=before)
    house.scan()
    house.films.put("x/movie.nfo", text=after)
    counts = house.scan().counts()
    assert (counts["parsed"], counts["probed"], counts["new"]) == (1, 0, 0)
    assert house.titles()["x/4f3a9c1b2d.mkv"] == "Stalker (1979)"
    assert house.known() == ["Heat (1995)", "Stalker (1979)"]


@on_both_databases
def test_a_show_nfo_that_is_corrected_is_read_again_for_every_season(house: House) -> None:
    house.shows.put("x/Season 1/x S01E01.mkv", "x/Season 2/x S02E01.mkv", "Lost/Lost S01E01.mkv")
    house.shows.put("x/tvshow.nfo", text="<tvshow><title>Drk</title></tvshow>")
    house.scan()
    house.shows.put("x/tvshow.nfo", text=DARK.format(""))
    assert house.scan().counts()["parsed"] == 2
    assert house.known() == ["Dark (2017)", "Lost"]


@on_both_databases
@pytest.mark.parametrize("large", [10, 1000])
def test_a_new_nfo_file_is_read_for_its_own_film_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """However many films lie beside it; one for all of a folder's films is read for all."""
    monkeypatch.setattr(comparing, "_LARGE", large)
    house.films.put(*(f"Film {number} (1999).mkv" for number in range(20)))
    house.films.put("Film 1 (1999).nfo", text=STALKER.format(""))
    house.scan()
    house.films.put("Film 0 (1999).nfo", text="<movie><title>Ran</title></movie>")
    house.films.put("Film 1 (1999).nfo", text="<movie><title>Solaris</title></movie>")
    assert house.scan().counts()["parsed"] == 2
    titles = house.titles()
    assert titles["Film 0 (1999).mkv"] == "Ran (1999)"
    assert titles["Film 1 (1999).mkv"] == "Solaris (1999)"
    house.films.remove("Film 0 (1999).nfo")
    assert house.scan().counts()["parsed"] == 1
    assert house.titles()["Film 0 (1999).mkv"] == "Film 0 (1999)"
    house.films.put("Film 2 (1999).en.srt", text="x")
    assert house.scan().counts()["parsed"] == 0
    assert house.files()["Film 2 (1999).mkv"]["sidecars"] == {"Film 2 (1999).en.srt": "subtitle"}
    house.films.remove("Film 2 (1999).en.srt")
    report = house.scan()
    assert house.files()["Film 2 (1999).mkv"]["sidecars"] == {}
    assert [report.counts()[name] for name in ("found", "unchanged", "parsed")] == [20, 20, 0]
    house.films.put("movie.nfo", text="<movie><title>Ran</title></movie>")
    assert house.scan().counts()["parsed"] == 20
    assert house.scan().counts()["parsed"] == 0


@pytest.mark.parametrize("root", ["films", "more"])
@pytest.mark.parametrize("film", ["Heat (1995)/Heat (1995).mkv", "zz/Heat (1995).mkv"])
def test_an_extra_that_was_there_before_its_film_joins_it(
    house: House, film: str, root: str
) -> None:
    house.add_films()
    extra = "Heat (1995)/Heat (1995)-trailer.mkv"
    house.films.put(extra)
    house.scan()
    assert house.titles() == {extra: "trailer"}
    house.films.put(f"../{root}/{film}")
    house.scan()
    assert house.titles() == {extra: "Heat (1995) (trailer)", film: "Heat (1995)"}


def test_an_nfo_file_that_is_gone_is_no_longer_believed(house: House) -> None:
    house.films.put("x/Heat (1995).mkv")
    house.films.put("x/movie.nfo", text=STALKER.format(""))
    house.scan()
    house.films.remove("x/movie.nfo")
    house.scan()
    assert house.known() == ["Heat (1995)"]


@on_both_databases
@pytest.mark.parametrize("order", [1, -1])
def test_a_title_known_by_id_and_by_name_is_one(house: House, order: int) -> None:
    names = ["A/Heat (1995) {tmdb-949}.mkv", "B/Heat (1995).mkv"][::order]
    for name in names:
        house.films.put(name)
        house.scan()
    assert house.known() == ["Heat (1995)"]
    assert len({file["title_id"] for file in house.files().values()}) == 1


def test_films_of_one_name_and_year_with_other_ids_are_two(house: House) -> None:
    house.films.put("A (2000) {imdb-tt0000001}.mkv", "A (2000) {imdb-tt0000002}.mkv")
    house.scan()
    assert house.known() == ["A (2000)", "A (2000)"]


def test_an_id_tag_alone_is_enough(house: House) -> None:
    house.films.put("[tmdbid-949].mkv", "{imdb-tt0113277}.mkv")
    report = house.scan()
    assert report.counts()["matched"] == 2
    assert house.files()["[tmdbid-949].mkv"]["tmdb_id"] == 949


@pytest.mark.parametrize("path", ["e83c5163316f89bf.mkv", "video.mkv", "00001.m2ts"])
def test_what_says_nothing_is_not_guessed(house: House, path: str) -> None:
    house.films.put(path)
    report = house.scan()
    assert list(reasons(report)) == [path]
    assert house.known() == []


def test_a_file_in_a_show_library_without_an_episode_is_not_guessed(house: House) -> None:
    house.shows.put("Dark/Making things up.mkv")
    report = house.scan()
    assert "season and episode" in reasons(report)["Dark/Making things up.mkv"]
