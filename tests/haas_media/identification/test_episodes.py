"""Names of episodes, as Plex, Jellyfin, Kodi, release groups, fansubs and people write them."""

from __future__ import annotations

import datetime

import pytest

from haas_media.identification import identify

from .conftest import misread

# path, show, season, episodes
EPISODES: list[tuple[str, str | None, int | None, tuple[int, ...]]] = [
    # a show's folder, a season's folder
    ("Show (2010)/Season 02/S02E03.mkv", "Show", 2, (3,)),
    ("Show (2010)/Season 02/Show (2010) - S02E03 - Title.mkv", "Show", 2, (3,)),
    ("Show/Season 1/Show - 1x03 - Title.mkv", "Show", 1, (3,)),
    ("Show/S01/Show.S01E03.720p.mkv", "Show", 1, (3,)),
    ("Show/Season 1 (2010)/Show S01E03.mkv", "Show", 1, (3,)),
    ("Show/Series 1/Show S01E03.mkv", "Show", 1, (3,)),
    ("Show/Staffel 1/03.mkv", "Show", 1, (3,)),
    ("Show/Saison 1/03.mkv", "Show", 1, (3,)),
    ("Show/Temporada 1/03.mkv", "Show", 1, (3,)),
    ("Show/Сезон 1/03.mkv", "Show", 1, (3,)),
    ("Show/1/03.mkv", "Show", 1, (3,)),
    ("Show/Show Season 1/03.mkv", "Show", 1, (3,)),
    ("Show.S01.1080p.BluRay.x264-GRP/Show.S01E03.1080p.BluRay.x264-GRP.mkv", "Show", 1, (3,)),
    ("Show.S01E03.720p.HDTV.x264-GRP/grp-show.103.mkv", "Show", 1, (3,)),
    ("Downloads/Show.S01E03.720p.HDTV.x264-GRP/show.s01e03.mkv", "show", 1, (3,)),
    ("Show/Livre V/Show - 5x03.mkv", "Show", 5, (3,)),
    ("Show/Buch 2/03.mkv", "Show", 2, (3,)),
    # folders between the show's and the file that sort by something else
    ("Show/Campaign 2/Show - 2x03.mkv", "Show", 2, (3,)),
    ("Show/Series M/Show.S13E03.mkv", "Show", 13, (3,)),
    ("Show/DVD Rips/Show 1x03.mkv", "Show", 1, (3,)),
    ("Show/Show - The Next/Show 1x03.mkv", "Show - The Next", 1, (3,)),
    ("Show/Season 3/Show Disc 2/Show S03E03.mkv", "Show", 3, (3,)),
    ("Show/Show 201-210/Show - 205.mkv", "Show", None, (205,)),
    ("Show (3 сезон)/03 серия.mkv", "Show", 3, (3,)),
    ("Show 2. Staffel/03.mkv", "Show", 2, (3,)),
    # what else the name of a show's folder tells
    ("Show (TV Series)/Season 1/03.mkv", "Show", 1, (3,)),
    ("Show (miniseries)/03.mkv", "Show", None, (3,)),
    ("[Group] Show (01-12) [1080p]/[Group] Show - 03 [1080p].mkv", "Show", None, (3,)),
    ("Show 01-12/Show 03.mkv", "Show", None, (3,)),
    # a folder of all seasons above theirs
    ("Show S01-S08 Complete/Season 3/Show S03E03.mkv", "Show", 3, (3,)),
    ("Show Seasons 1-3/Season 2/03.mkv", "Show", 2, (3,)),
    # a bare number in a show's folder
    ("Show/Season 1/03.mkv", "Show", 1, (3,)),
    ("Show/Season 1/03 - Title.mkv", "Show", 1, (3,)),
    ("Show/Season 1/03. Title.mkv", "Show", 1, (3,)),
    ("Show/Season 1/03 Title.mkv", "Show", 1, (3,)),
    ("Show/Season 1/E03 - Title.mkv", "Show", 1, (3,)),
    ("Show/Season 1/Ep03.mkv", "Show", 1, (3,)),
    ("Show/Season 1/Episode 3.mkv", "Show", 1, (3,)),
    ("Show/Season 1/Episode 03 - 24 Hours.mkv", "Show", 1, (3,)),
    ("Show/Season 1/103.mkv", "Show", 1, (3,)),
    ("Show/Season 1/Show - 03.mkv", "Show", 1, (3,)),
    ("Show/03 - Title.mkv", "Show", None, (3,)),
    ("Show/03.mkv", "Show", None, (3,)),
    ("Show/Season 2/02-03 - x.mkv", "Show", 2, (3,)),
    ("Show/Season 1/102-103 Title.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/02 & 03 - Title.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/02 and 03 - Title.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/02 - 03 - Title.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/02 - 33 - Title.mkv", "Show", 1, (2,)),
    ("Show/Season 1/Show - 03 - 1984.mkv", "Show", 1, (3,)),
    ("Show/Season 1/E02 E03 Title.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/Ep02-Ep03.mkv", "Show", 1, (2, 3)),
    ("Show/Season 1/[3] Title.mkv", "Show", 1, (3,)),
    ("Show/Season 1/03 - 100.mkv", "Show", 1, (3,)),
    ("Show/Season 1/03 - Chapter 5.mkv", "Show", 1, (3,)),
    ("Show/Season 1/Chapter 3 - Title.mkv", "Show", 1, (3,)),
    ("Show/Season 20/2003 - Title.mkv", "Show", 20, (3,)),
    # one digit after the cross, which ratios and titles have too
    ("Show - 1x3.mkv", "Show", 1, (3,)),
    ("Show.1x3.HDTV.mkv", "Show", 1, (3,)),
    ("Show/Season 1/1x3 Title.mkv", "Show", 1, (3,)),
    ("3x3 Eyes - 05.mkv", "3x3 Eyes", None, (5,)),
    ("Show 16x9 - 05.mkv", "Show 16x9", None, (5,)),
    # season and episode in one number, or with a dot between
    ("Show [HDTV][Cap.203].avi", "Show", 2, (3,)),
    ("Show [HDTV][Cap.1203_1204].avi", "Show", 12, (3, 4)),
    ("Show - Temporada 2 [HDTV][Cap.203][Spanish].avi", "Show", 2, (3,)),
    ("Show.0203.Title.mkv", "Show", 2, (3,)),
    ("Show 2.03 - Title.mkv", "Show", 2, (3,)),
    ("Show - 02.03 - Title.mkv", "Show", 2, (3,)),
    ("Show - 2016x03.mkv", "Show", 2016, (3,)),
    ("Show - Se02Ep03.mkv", "Show", 2, (3,)),
    ("Show - ep3of6.mkv", "Show", None, (3,)),
    # numbers and years in titles
    ("24/Season 1/02.mkv", "24", 1, (2,)),
    ("24.S01E02.720p.HDTV.mkv", "24", 1, (2,)),
    ("24-7/Season 1/24-7 - S01E02.mkv", "24-7", 1, (2,)),
    ("Space 1999 (1975)/Season 1/Space 1999 - 02.mkv", "Space 1999", 1, (2,)),
    ("The 100/Season 1/The 100 - 02.mkv", "The 100", 1, (2,)),
    ("9-1-1/Season 2/9-1-1 - S02E03.mkv", "9-1-1", 2, (3,)),
    ("Beverly Hills 90210/Beverly Hills 90210 - 1x02.mkv", "Beverly Hills 90210", 1, (2,)),
    ("2 Broke Girls/Season 01/2 Broke Girls - S01E02.mkv", "2 Broke Girls", 1, (2,)),
    ("[Group] 86 - Eighty Six - 05 [1080p].mkv", "86 - Eighty Six", None, (5,)),
    ("86 - Eighty Six - 05.mkv", "86 - Eighty Six", None, (5,)),
    ("[Group] 07-Ghost - 05 [720p].mkv", "07-Ghost", None, (5,)),
    ("[Group] 2.43 Seiin Koukou - 05 [720p].mkv", "2.43 Seiin Koukou", None, (5,)),
    ("02 - The Trap - 3.mkv", None, None, (2,)),
    # a second copy
    ("Copy of Show S01E02.mkv", "Show", 1, (2,)),
    ("Show S01E02 - Copy.mkv", "Show", 1, (2,)),
    ("Show 05 (1).mkv", "Show", None, (5,)),
    ("Show (9).mkv", "Show", None, (9,)),
    # several episodes in one file
    ("Show S01E01-E03.mkv", "Show", 1, (1, 2, 3)),
    ("Show S01E01E02.mkv", "Show", 1, (1, 2)),
    ("Show S01E01-03.mkv", "Show", 1, (1, 2, 3)),
    ("Show S01E01+E02.mkv", "Show", 1, (1, 2)),
    ("Show S01E01-S01E03.mkv", "Show", 1, (1, 2, 3)),
    ("Show 2x09-2x10.mkv", "Show", 2, (9, 10)),
    ("Show 2x9-2x10.mkv", "Show", 2, (9, 10)),
    ("Show 1x01-x03.mkv", "Show", 1, (1, 2, 3)),
    ("Show 1x01-03 Title.mkv", "Show", 1, (1, 2, 3)),
    ("Show 01-03.mkv", "Show", None, (1, 2, 3)),
    ("Show Ep 01-03.mkv", "Show", None, (1, 2, 3)),
    ("Show E01 - E03.mkv", "Show", None, (1, 2, 3)),
    ("Show 03-20.mkv", "Show", 3, (20,)),
    ("[Group] Show - 103, 104 [720p].mkv", "Show", None, (103, 104)),
    ("Show/Season 1/01-02 - Pilot.mkv", "Show", 1, (2,)),
    ("Show/Season 3/01-02 - Pilot.mkv", "Show", 3, (1, 2)),
    ("Show S01E01-1080p.mkv", "Show", 1, (1,)),
    ("Show S01E01 - E12.mkv", "Show", 1, tuple(range(1, 13))),
    ("Show S05E53 - Ep.129.mkv", "Show", 5, (53,)),
    ("Show - S01E03 - 24 Hours.mkv", "Show", 1, (3,)),
    ("Show.S01E03.x264-GRP.mkv", "Show", 1, (3,)),
    # halves and versions of one episode
    ("Show S01E03a.mkv", "Show", 1, (3,)),
    ("Show - 1x03b.mkv", "Show", 1, (3,)),
    ("Show S01E03v2-E04.mkv", "Show", 1, (3, 4)),
    ("Show S01E03a-E03b.mkv", "Show", 1, (3,)),
    ("Show/Season 1/S01E05 - 2012-03-04.mkv", "Show", 1, (5,)),
    # specials
    ("Show/Specials/Show - S00E05 - Title.mkv", "Show", 0, (5,)),
    ("Show/Season 0/05.mkv", "Show", 0, (5,)),
    ("[Group] Show - SP01 [1080p].mkv", "Show", 0, (1,)),
    ("Show Special 2.mkv", "Show", 0, (2,)),
    ("Show/Specials/05 - Title.mkv", "Show", 0, (5,)),
    ("Show/Season 00/Show S00E05.mkv", "Show", 0, (5,)),
    # other ways to write it
    ("Show - Season 2 Episode 3.mkv", "Show", 2, (3,)),
    ("Show.Season.2.Episode.3.[1080p].mkv", "Show", 2, (3,)),
    ("Show.Season.2.Episode.3.-.Title.mkv", "Show", 2, (3,)),
    ("Show Season 02 Episode 03 Title.mkv", "Show", 2, (3,)),
    ("Show.s02.e03.mkv", "Show", 2, (3,)),
    ("Show - [2x03] - Title.mkv", "Show", 2, (3,)),
    ("Show (S02E03).mkv", "Show", 2, (3,)),
    ("show_s02e03_title.mkv", "show", 2, (3,)),
    ("Show S2 - 03.mkv", "Show", 2, (3,)),
    ("Show - 2. Staffel Folge 3.mkv", "Show", 2, (3,)),
    ("Show Temporada 2 Capitulo 3.mkv", "Show", 2, (3,)),
    ("Шоу - Сезон 2 Серия 3.mkv", "Шоу", 2, (3,)),
    ("진격의 거인 S02E03.mkv", "진격의 거인", 2, (3,)),
    ("Show 3of6.mkv", "Show", None, (3,)),
    ("Show S2024E103.mkv", "Show", 2024, (103,)),
    ("example.com - Show S02E03.mkv", "Show", 2, (3,)),
    ("[ www.example.cd ] - Show.S02E03.720p.mkv", "Show", 2, (3,)),
    # mini-series
    ("The Stand (1994)/The Stand - Part 2.mkv", "The Stand", None, (2,)),
    ("The Stand/Part II.mkv", "The Stand", None, (2,)),
    ("The.Stand.Part.2.DVDRip.mkv", "The Stand", None, (2,)),
    ("The Stand Part Two.mkv", "The Stand", None, (2,)),
    # anime: numbers without a season, seasons as words
    ("[Group] Show - 03 [1080p].mkv", "Show", None, (3,)),
    ("[Group] Show - 03v2 [1080p][ABCD1234].mkv", "Show", None, (3,)),
    ("[Group]_Show_Name_-_03_[720p].mkv", "Show Name", None, (3,)),
    ("[Group] Show - 01-12 [1080p].mkv", "Show", None, tuple(range(1, 13))),
    ("[Group] Show - 1015 (1080p) [ABCD1234].mkv", "Show", None, (1015,)),
    ("[Group] Show 2nd Season - 03 [1080p].mkv", "Show", 2, (3,)),
    ("[Group] Show S2 - 03 [1080p].mkv", "Show", 2, (3,)),
    ("[Group] Show - 100 Years - 05 [1080p].mkv", "Show - 100 Years", None, (5,)),
    ("[Group] Show - 116 - 360 Degrees [1080p].mkv", "Show", None, (116,)),
    ("3-Nen D-Gumi - 13 [480p].mkv", "3-Nen D-Gumi", None, (13,)),
    ("Show [5.134] Title.mkv", "Show", 5, (134,)),
    ("Show Season 11 01.mkv", "Show", 11, (1,)),
    ("[Group] 22-7 - 11 [1080p].mkv", "22-7", None, (11,)),
    ("[Group][Show Name][03][1080p].mkv", "Show Name", None, (3,)),
    ("[Group] Show 2199 - 03 [1080p].mkv", "Show 2199", None, (3,)),
    ("Show #03.mkv", "Show", None, (3,)),
    ("Show Ep. 03.mkv", "Show", None, (3,)),
    ("番組 第03話.mkv", "番組", None, (3,)),
    ("[Group][Show Name][第03话][1080P].mkv", "Show Name", None, (3,)),
    ("방송 시즌2 3화.mkv", "방송", 2, (3,)),
    ("Show - 2. série - 3. díl.avi", "Show", 2, (3,)),
    ("Show sezonul 2 episodul 3.avi", "Show", 2, (3,)),
    ("المسلسل - الموسم 2 الحلقة 3.mkv", "المسلسل", 2, (3,)),
    ("المسلسل - الحلقة 3.mkv", "المسلسل", None, (3,)),
    ("방송 제3회.mkv", "방송", None, (3,)),
    ("Show Vol. 2 Ep. 3.mkv", "Show Vol. 2", None, (3,)),
    ("Шоу - 2 сезон 3 серия 720p.mkv", "Шоу", 2, (3,)),
    ("Anime/Show/[Group] Show - 03 [1080p].mkv", "Show", None, (3,)),
    ("Anime/Show/Season 2/[Group] Show - 03 [1080p].mkv", "Show", 2, (3,)),
    ("Show/S02/D1/03.mkv", "Show", 2, (3,)),
    ("Show/Vol. 1/03.mkv", "Show", None, (3,)),
    ("TV/Extras/Season 2/03.mkv", "Extras", 2, (3,)),
    # bonus with a season and an episode is the title of one
    ("Show (2010) - S02E03 - Deleted Scenes.mkv", "Show", 2, (3,)),
    ("[CM] Show - 03 [1080p].mkv", "Show", None, (3,)),
    ("[Grp] Fate Extra 03 [1080p].mkv", "Fate Extra", None, (3,)),
    # marks that nobody sees, spaces, dashes and digits of other widths and scripts
    ("\u200eShow S02\u200eE03.mkv", "Show", 2, (3,)),
    ("Show/\u200eSeason\u00a02/03.mkv", "Show", 2, (3,)),
    ("Show S02E03\u2011E04.mkv", "Show", 2, (3, 4)),
    ("Ｓｈｏｗ　Ｓ０２Ｅ０３.mkv", "Show", 2, (3,)),
    ("番組　第３話　「題名」.ts", "番組", None, (3,)),
    ("番組 ＃３.mkv", "番組", None, (3,)),
    ("المسلسل الحلقة ٣.mkv", "المسلسل", None, (3,)),
    # the number without a show
    ("S02E03.mkv", None, 2, (3,)),
    ("2-06 Title.mkv", None, 2, (6,)),
    ("02-03 - x.mkv", None, 2, (3,)),
]


pytestmark = pytest.mark.usefixtures("no_guessing")


def test_names_of_episodes() -> None:
    rows = [
        (path, title, season, episodes, episodes if season is None else (), None)
        for path, title, season, episodes in EPISODES
    ]
    assert misread(rows, "tv", "title", "season", "episodes", "absolute", "extra") == []


# path, show, year
YEARS = [
    ("Show (2010)/Season 02/S02E03.mkv", "Show", 2010),
    ("Doctor Who (2005)/Season 8/Doctor.Who.S08E11.mkv", "Doctor Who", 2005),
    ("Doctor Who/Season 8/Doctor.Who.2005.S08E11.mkv", "Doctor Who", 2005),
    ("Doctor.Who.2005.S08E11.720p.mkv", "Doctor Who", 2005),
    ("Doctor Who (2005) - 8x11.mkv", "Doctor Who", 2005),
    ("1883 (2021)/Season 1/1883 - S01E02.mkv", "1883", 2021),
    ("Hawaii Five-0 (2010)/Season 1/Hawaii Five-0 (2010) - S01E02.mkv", "Hawaii Five-0", 2010),
    ("Show/Season 1/Show.S01E02.2011.720p.mkv", "Show", None),
    ("[Group] Show (2008) - 03 [720p].mkv", "Show", 2008),
    ("V (1983)/V - Part 1.mkv", "V", 1983),
    ("Show (2010) - [06x16] - Title.mkv", "Show", 2010),
    ("Show (2010) [1080p]/Season 1/05.mkv", "Show", 2010),
    ("Show (2010–2015)/Season 1/05.mkv", "Show", 2010),
    ("Show (2010-2015)/Season 1/05.mkv", "Show", 2010),
    ("Show (Mini-Series) (2010)/05.mkv", "Show", 2010),
    ("Cosmos/Cosmos (1980) - 05.mkv", "Cosmos", 1980),
]


def test_years_of_shows() -> None:
    assert misread(YEARS, "tv", "title", "year") == []


# The Daily Show of the 22nd of July 2015
DAILY = [
    "The Daily Show/The Daily Show - 2015-07-22 - Guest.mkv",
    "The Daily Show/Season 20/The.Daily.Show.2015.07.22.720p.mkv",
    "The.Daily.Show.2015.07.22.Guest.720p.HDTV.x264-GRP.mkv",
    "The Daily Show 20150722.mkv",
    "The Daily Show (2015_07_22).mkv",
    "The.Daily.Show.2015.07.22.720p.HDTV.x264-GRP/42e7e8a48eb7454aaebebcf49705ce41.mkv",
    "The Daily Show/2015-07-22.mkv",
    # the day or the month in one digit, the month in words
    "The Daily Show 22.7.2015.mkv",
    "The Daily Show - 22 Jul 2015.mkv",
    "The.Daily.Show.22nd.July.2015.WS.PDTV.avi",
    "The Daily Show - Wednesday, July 22, 2015.mkv",
    "The Daily Show 2015 Jul 22.mkv",
    # sorted by date, the show after it
    "2015.07.22.The.Daily.Show.720p.HDTV.mkv",
    "2015-07-22 - The Daily Show.mkv",
    "The Daily Show/2015/2015-07-22.mkv",
    "The Daily Show/2015/07/The Daily Show 2015-07-22.mkv",
    "The Daily Show/2015-07-22 - Guest.mkv",
    "20150722_201500_The Daily Show.ts",
    "2015-07-22 20-15-00 The Daily Show.ts",
    "The.Daily.Show.2015.22.07.PDTV.mkv",
    "The Daily Show vom 22. Juli 2015.mp4",
    "The Daily Show vom 22.07.2015.mp4",
    "The Daily Show - 22 de julio de 2015.mkv",
    "The Daily Show du 22 juillet 2015.mkv",
]


def test_dates_of_daily_shows() -> None:
    told = ("title", "date", "year", "season", "episodes")
    that_day, early = datetime.date(2015, 7, 22), datetime.date(2015, 7, 2)
    rows = [(path, "The Daily Show", that_day, None, None, ()) for path in DAILY]
    rows += [("The.Daily.Show.2.7.2015.720p.mkv", "The Daily Show", early, None, None, ())]
    rows += [("番組 2015年7月22日.mkv", "番組", that_day, None, None, ())]
    assert misread(rows, "tv", *told) == []


def test_number_beside_a_date_counts() -> None:
    found = identify("The.Daily.Show.2015.07.22.S20E133.720p.mkv", "tv")
    assert (found.title, found.season, found.episodes) == ("The Daily Show", 20, (133,))


def test_a_day_that_no_calendar_has_is_no_date() -> None:
    found = identify("Show - 31 Feb 2015.mkv", "tv")
    assert found.date is None


# path, show, season, kind of extra
EXTRAS = [
    ("Show/Season 1/Featurettes/Making.mkv", "Show", 1, "featurette"),
    ("Show/Extras/Bloopers.mkv", "Show", None, "other"),
    ("Show/Trailers/Season 2.mkv", "Show", None, "trailer"),
    ("Show/Season 1/Show S01E03-trailer.mkv", "Show", 1, "trailer"),
    ("Show.S01E03.720p/Sample/show.s01e03.sample.mkv", None, None, "sample"),
]


def test_extras_of_shows() -> None:
    assert misread(EXTRAS, "tv", "title", "season", "extra") == []


def test_a_show_may_be_named_as_a_folder_of_extras() -> None:
    found = identify("Extras/Season 1/Extras - S01E02.mkv", "tv")
    assert (found.title, found.season, found.episodes, found.extra) == ("Extras", 1, (2,), None)


def test_country_is_told_apart_from_the_title() -> None:
    rows = [
        ("House of Cards (US)/Season 1/S01E02.mkv", "House of Cards", "US"),
        ("This Is Us/Season 1/S01E02.mkv", "This Is Us", None),
        ("the.office.us.s01e02.mkv", "the office", "US"),
        ("the.office.us.2005.s01e02.mkv", "the office", "US"),
        ("ghosts.uk.s01e02.mkv", "ghosts", "UK"),
        ("this.is.us.s01e02.mkv", "this is us", None),
        ("the.last.of.us.s01e02.mkv", "the last of us", None),
        ("kids like us s01e02.mkv", "kids like us", None),
    ]
    assert misread(rows, "tv", "title", "country") == []


def test_tag_of_the_show_folder_holds_for_its_episodes() -> None:
    found = identify("Show {tvdb-81189}/Season 1/Show S01E02.mkv", "tv")
    assert found.ids == {"tvdb": "81189"}


def test_a_name_may_cover_several_seasons() -> None:
    found = identify("Show Seasons 1-3 Complete 720p", "tv")
    assert (found.title, found.season, found.seasons) == ("Show", None, (1, 2, 3))
    assert found.to_json("")["season"] == [1, 2, 3]
