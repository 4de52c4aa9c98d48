"""Names that say nothing are never guessed, and the reason says what to do."""

from __future__ import annotations

from haas_media.identification import Kind, identify

from .conftest import misread

KINDS: tuple[Kind, ...] = ("movies", "tv")
RUBBISH = [
    "a8f5f167f44f4964e6c998dee827110c.mkv", "A8F5F167F44F4964E6C998DEE827110C.mkv",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709.mp4", "550e8400-e29b-41d4-a716-446655440000.mkv",
    "asdkjhqwe.mkv", "qwertzuiop.avi", "xkcdvfgbq.mkv", "asdf1234.mkv", "x7f3k9q2z8m4.mkv",
    "VTS_01_1.VOB", "VIDEO_TS/VTS_01_1.VOB", "BDMV/STREAM/00001.m2ts", "00001.m2ts", "00.mkv",
    "title_t00.mkv", "IMG_1234.MOV", "MVI_0042.avi", "GOPR0123.MP4", "VID_20200101_120000.mp4",
    "movie.mkv", "1080p.mkv", "video1.mp4", "untitled.mov", "new.mkv", "New folder/1.mkv",
    "Untitled Folder 2/7.mkv", "Neuer Ordner (3)/12.mkv", "Nouveau dossier/New folder/2.mkv",
    "My Videos/3.mp4", "DCIM/100CANON/4.mov", "Backup 2019/5.mkv", "Downloads/3 - Copy.avi",
    "New folder/Copy of 1.mkv", "8 (1).mkv", "video (2).mp4", "New folder/movie 1.mkv",
    "Desktop/Untitled 3.mkv", "9.mkv", "12/3.mkv", "20230714_183012.mp4",
    "2023-07-14 18-30-12.mkv", "2023-07-14 at 18.30.12.mov", "IMG_E1234.MOV", "videoplayback.mp4",
    "videoplayback (1).mp4", "My Movie.mp4", "home video 3.avi", "aaaaaaa.mkv", "export (3).mp4",
    "dQw4w9WgXcQ.mp4", "ZmFrZWJhc2U2NA.mp4", "trim.A1B2C3D4-E5F6-7890-ABCD-EF1234567890.MOV",
    "WhatsApp Video 2020-01-01 at 12.00.00.mp4", "Screen Recording (5).mp4", "FullSizeRender.mov",
    "Untitled Project.mp4", "Sequence 01.mp4", "RPReplay_Final1577880000.MP4",
    "vlc-record-2020-01-01-12h00m00s-x.mp4", "---.mkv", "[].mkv", ".mkv", "",
]  # fmt: skip


def test_rubbish_is_not_guessed() -> None:
    for path in RUBBISH:
        for kind in KINDS:
            found = identify(path, kind)
            assert found.reason, path
            assert "ename" in found.reason
            assert "id tag" in found.reason
            assert found.to_json(path) == {"path": path, "reason": found.reason}


def test_an_episode_without_number_is_not_guessed() -> None:
    for path in (
        "Show/Season 1/Pilot.mkv",
        "Show/asdkjhqwe.mkv",
        "Show/a8f5f167f44f4964e6c998dee827110c.mkv",
        "Show/Specials/Christmas.mkv",
        "Show {tvdb-81189}/Pilot.mkv",
        # a year of no season, and days whose year no one can tell
        "Harbour - Summer Concert Series 2012 1080i HDTV.ts",
        "Harbour 14.07.22.mkv",
        "Harbour.14.07.22.Guest.mkv",
        "Harbour (14.07.22).mkv",
        "Harbour 14-07-22.mkv",
    ):
        found = identify(path, "tv")
        assert found.reason, path
        assert "S01E02" in found.reason


def test_unusual_words_are_no_rubbish() -> None:
    words = ("Rhythm", "Tron", "Brzydula", "Krzyk", "Schtonk", "Dijkstra", "WALL-E", "Se7en")
    rows = [(f"{word}.mkv", word) for word in (*words, "M", "π", "TheHost2CD")]
    assert misread(rows, "movies", "title") == []


def test_a_number_is_a_title_when_something_else_says_so() -> None:
    rows = [
        ("Heat/1.mkv", "Heat", None),
        ("300 (2006)/1.mkv", "300", 2006),
        ("21/21.mkv", "21", None),
        ("9 (2009).mkv", "9", 2009),
        ("9.2009.1080p.BluRay.x264-GROUP.mkv", "9", 2009),
        ("1917.mkv", "1917", None),
        ("New folder/300.mkv", "300", None),
        ("Stuff (2019)/1.mkv", "Stuff", 2019),
        ("Copycat (1995).mkv", "Copycat", 1995),
        ("The Copy (1929)/The Copy (1929).mkv", "The Copy", 1929),
    ]
    assert misread(rows, "movies", "title", "year") == []


def test_a_recorder_keeps_the_time_in_the_folder_of_a_show() -> None:
    found = identify("Tagesschau/20230714_200000.ts", "tv")
    assert (found.title, str(found.date)) == ("Tagesschau", "2023-07-14")


def test_a_number_in_the_folder_of_a_season_is_no_film() -> None:
    assert identify("Show/Season 1/1.mkv", "movies").reason


def test_a_tag_makes_up_for_a_name_that_says_nothing() -> None:
    found = identify("a8f5f167f44f4964e6c998dee827110c {tmdb-603}.mkv", "movies")
    assert (found.title, found.ids) == (None, {"tmdb": "603"})
