"""Names of films, as Plex, Jellyfin, Kodi, release groups and people write them."""

from __future__ import annotations

import pytest

from haas_media.identification import identify

from .conftest import misread

# path, title, year
FILMS = [
    # Title (Year), in a folder of its own or not
    ("The Matrix (1999).mkv", "The Matrix", 1999),
    ("The Matrix (1999)/The Matrix (1999).mkv", "The Matrix", 1999),
    ("Amélie (2001)/Amélie (2001).mkv", "Amélie", 2001),
    ("Heat [1995]/Heat [1995].mkv", "Heat", 1995),
    ("Dr. Strangelove or - How I Learned (1964).mkv", "Dr. Strangelove or - How I Learned", 1964),
    ("What's Up, Doc (1972).mkv", "What's Up, Doc", 1972),
    ("Matrix, The (1999).mkv", "The Matrix", 1999),
    ("(500) Days of Summer (2009).mkv", "(500) Days of Summer", 2009),
    # the folder says it, the file does not
    ("The Matrix (1999)/movie.mkv", "The Matrix", 1999),
    ("The Matrix (1999)/a8f5f167f44f4964e6c998dee827110c.mkv", "The Matrix", 1999),
    ("The Matrix (1999)/mtrx-dvd.avi", "The Matrix", 1999),
    ("The Matrix/00001.m2ts", "The Matrix", None),
    ("The.Matrix.1999.1080p.BluRay.x264-GRP/grp-matrix.1080p.mkv", "The Matrix", 1999),
    ("The Matrix (1999)/VIDEO_TS/VTS_01_1.VOB", "The Matrix", 1999),
    ("The Matrix (1999)/CD1/matrix.avi", "The Matrix", 1999),
    ("1990s/The Matrix (1999)/The Matrix.mkv", "The Matrix", 1999),
    ("Sci-Fi/The Matrix.mkv", "The Matrix", None),
    # a collection's folder names no film
    ("Alien Collection/Aliens (1986).mkv", "Aliens", 1986),
    ("Alien Collection (1979-1997)/Aliens.mkv", "Aliens", None),
    ("Star Wars Trilogy/Return of the Jedi.mkv", "Return of the Jedi", None),
    ("Harry Potter/02 - The Chamber of Secrets (2002).mkv", "The Chamber of Secrets", 2002),
    ("The Lord of the Rings/2. The Two Towers (2002).mkv", "The Two Towers", 2002),
    ("The Lord of the Rings/(2) The Two Towers (2002).mkv", "The Two Towers", 2002),
    ("The Lord of the Rings/(2)The Two Towers (2002).mkv", "The Two Towers", 2002),
    ("Tolkien/2002 - The Two Towers/The Two Towers.mkv", "The Two Towers", 2002),
    ("2012 - Doomsday (2008).mkv", "2012 - Doomsday", 2008),
    ("2001 - A Space Odyssey (1968)/2001 - A Space Odyssey.mkv", "2001 - A Space Odyssey", 1968),
    ("Copy of The Matrix (1999).mkv", "The Matrix", 1999),
    ("The Matrix - Copy.mkv", "The Matrix", None),
    ("The Matrix (1999) - Copy (2).mkv", "The Matrix", 1999),
    ("The Lord of the Rings/02 The Two Towers (2002).mkv", "The Two Towers", 2002),
    ("Alien Anthology/2. Aliens.mkv", "Aliens", None),
    ("Alien Anthology/02 - Aliens - 1986.mkv", "Aliens", 1986),
    ("1986. Aliens.mkv", "Aliens", 1986),
    ("007 - Skyfall (2012).mkv", "007 - Skyfall", 2012),
    # what else stands in parentheses
    ("Bunker Palace Hôtel (Enki Bilal) (1989).avi", "Bunker Palace Hôtel", 1989),
    ("Birdman or (The Unexpected Virtue) (2014).mkv", "Birdman or (The Unexpected Virtue)", 2014),
    ("Kirikou et la sorcière VF (1998).avi", "Kirikou et la sorcière", 1998),
    # releases
    ("Heat (1995) [1080p x265 10bit S96 Joy].mkv", "Heat", 1995),
    ("The.Matrix.1999.1080p.BluRay.x264-GRP.mkv", "The Matrix", 1999),
    ("The.Matrix.DVDRip.XviD-GRP.avi", "The Matrix", None),
    ("S.W.A.T.2003.1080p.BluRay.mkv", "S.W.A.T.", 2003),
    ("Das.Leben.der.Anderen.German.2006.DL.1080p.BluRay.mkv", "Das Leben der Anderen", 2006),
    ("Le.Diner.de.Cons.FRENCH.DVDRip.XviD.avi", "Le Diner de Cons", None),
    ("Johnny.English.2003.1080p.BluRay.mkv", "Johnny English", 2003),
    ("The.Danish.Girl.2015.720p.BluRay.mkv", "The Danish Girl", 2015),
    ("Charlottes.Web.2006.1080p.BluRay.mkv", "Charlottes Web", 2006),
    ("[YTS.MX] Heat (1995) [1080p].mp4", "Heat", 1995),
    ("example.org - Heat (1995).mkv", "Heat", 1995),
    ("Despicable.Me - 2010.mkv", "Despicable Me", 2010),
    ("Friday.the.13th.Part.III.3D.1982.1080p.mkv", "Friday the 13th Part III", 1982),
    ("Avatar (2009) 3D HSBS 1080p.mkv", "Avatar", 2009),
    # numbers and years in titles, and as titles
    ("300.mkv", "300", None),
    ("1917/1917.mkv", "1917", None),
    ("1234.mkv", "1234", None),
    ("1984 (1984).mkv", "1984", 1984),
    ("2012 (2009)/2012 (2009).mkv", "2012", 2009),
    ("2012.2009.1080p.BluRay.mkv", "2012", 2009),
    ("2012.1080p.BluRay.mkv", "2012", None),
    ("Blade.Runner.2049.2017.2160p.mkv", "Blade Runner 2049", 2017),
    ("Blade.Runner.2049.2160p.mkv", "Blade Runner 2049", None),
    ("8½ (1963).mkv", "8½", 1963),
    ("12 Monkeys (1995)/12 Monkeys.mkv", "12 Monkeys", 1995),
    ("10,000 BC (2008).mkv", "10,000 BC", 2008),
    # no year at all
    ("Mr. Nobody.mkv", "Mr. Nobody", None),
    ("La famille bélier.avi", "La famille bélier", None),
    ("The.Big.Lebowski.mkv", "The Big Lebowski", None),
    ("Trainspotting.mkv", "Trainspotting", None),
    ("Knightmare.mkv", "Knightmare", None),
    # other scripts
    ("千と千尋の神隠し (2001).mkv", "千と千尋の神隠し", 2001),
    ("Сталкер (1979)/Сталкер.mkv", "Сталкер", 1979),
    ("لورنس العرب (1962).mkv", "لورنس العرب", 1962),
    ("君の名は。 Your Name (2016).mkv", "Your Name", 2016),
    ("Ame\u0301lie (2001).mkv", "Amélie", 2001),
    ("Léon： The Professional (1994).mkv", "Léon： The Professional", 1994),
    # marks that nobody sees, spaces and digits of other widths and scripts
    ("\u202aFilm (1999)\u202c.mkv", "Film", 1999),
    ("\ufeffFi\u00adlm\u00a0(1999)\u200e.mkv", "Film", 1999),
    ("\u200fالفيلم (١٩٩٩).mkv", "الفيلم", 1999),
    ("電影（１９９９） 1080p.mkv", "電影", 1999),
    ("［Grp］電影 1999.mkv", "電影", 1999),
    ("می‌خواهم (2010).mkv", "می‌خواهم", 2010),
    # versions, editions, parts
    ("Heat - The Final Cut (1995).mkv", "Heat", 1995),
    ("The.Final.Cut.2004.1080p.mkv", "The Final Cut", 2004),
    ("The Final Cut.mkv", "The Final Cut", None),
    ("Escape.from.the.WEB.2010.mkv", "Escape from the WEB", 2010),
    ("Baraka.Édition.Spéciale.1992.1080p.mkv", "Baraka", 1992),
    ("Suicide Squad EXTENDED (2016) 2160p.mkv", "Suicide Squad", 2016),
]
# path, title, year, edition, version
VERSIONS = [
    ("Heat (1995)/Heat (1995) - 1080p.mkv", "Heat", 1995, None, "1080p"),
    ("Heat (1995)/Heat (1995) - 2160p {edition-Final Cut}.mkv", "Heat", 1995, "Final Cut", "2160p"),
    ("Heat (1995)/Heat (1995) - Extended 2160p.mkv", "Heat", 1995, "Extended", "2160p"),
    ("Alien (1979)/Alien (1979) - Director's Cut.mkv", "Alien", 1979, "Director's Cut", None),
    ("Alien (1979)/Alien (1979) [Director's Cut].mkv", "Alien", 1979, "Director's Cut", None),
    ("Blade Runner (1982) {edition-Final Cut}.mkv", "Blade Runner", 1982, "Final Cut", None),
    ("Blade Runner (1982) {edition-Final Cut}/br.mkv", "Blade Runner", 1982, "Final Cut", None),
    ("Alien (1979) - Director’s Cut.mkv", "Alien", 1979, "Director’s Cut", None),
    ("Aliens.1986.Special.Edition.1080p.mkv", "Aliens", 1986, "Special Edition", None),
    ("Heat.The.Final.Cut.1995.1080p.mkv", "Heat", 1995, "Final Cut", None),
    ("Heat The Final Cut.mkv", "Heat", None, "Final Cut", None),
    ("Baraka_Edition_Collector.avi", "Baraka", None, "Edition Collector", None),
]
# path, title, year, part of a film in several files
PARTS = [
    ("Gone with the Wind (1939)/Gone with the Wind (1939) CD1.avi", "Gone with the Wind", 1939, 1),
    ("Ben-Hur (1959)/Ben-Hur (1959)-part2.avi", "Ben-Hur", 1959, 2),
    ("Gone with the Wind (1939)/cd2.avi", "Gone with the Wind", 1939, 2),
    ("Ben-Hur (1959) disc 2.mkv", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/Ben-Hur (1959) - Part 2.mkv", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/Ben-Hur - part 2.mkv", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/part2.avi", "Ben-Hur", 1959, 2),
    ("Part 8 (2010)/Part 8.mkv", "Part 8", 2010, None),
    ("Ben-Hur (1959)/CD2/Ben-Hur.avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/Ben-Hur (1 of 2).avi", "Ben-Hur", 1959, 1),
    ("Ben-Hur (1959)/Ben-Hur (Part 2).avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959) CD2/bh.avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959) [CD2].avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959) (2 of 2).avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959) - Part Two.avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/Ben-Hur (1959) - Part 2 - 1080p.avi", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959)/D2/bh.avi", "Ben-Hur", 1959, 2),
    ("D2 - The Ducks (1994)/D2.avi", "D2 - The Ducks", 1994, None),
    ("Ben-Hur (1959)/Part 2/bh.avi", "Ben-Hur", 1959, 2),
    ("Ben/Part 2 - Hur (1959)/bh.avi", "Part 2 - Hur", 1959, None),
    ("1 of 2 (2010).mkv", "1 of 2", 2010, None),
    ("Heat.1995.PAL.DVD9-GRP.iso", "Heat", 1995, None),
    ("Mockingjay - Part 1.mkv", "Mockingjay - Part 1", None, None),
    ("Mockingjay - Part 1 (2014)/Mockingjay - Part 1.mkv", "Mockingjay - Part 1", 2014, None),
    # discs, each of them one title, and what is a title without being media
    ("Ben-Hur (1959)/BDMV", "Ben-Hur", 1959, None),
    ("Ben-Hur (1959)/Disc 2/VIDEO_TS", "Ben-Hur", 1959, 2),
    ("Ben-Hur (1959) Disc 2/bdmv", "Ben-Hur", 1959, 2),
    ("Ben-Hur.1959.COMPLETE.BLURAY-GRP/BDMV", "Ben-Hur", 1959, None),
    ("Ben-Hur (1959).strm", "Ben-Hur", 1959, None),
    ("Kill Bill Vol. 2 (2004).mkv", "Kill Bill Vol. 2", 2004, None),
]
# path, title, year, ids
IDS = [
    ("The Matrix (1999) {tmdb-603}/The Matrix.mkv", "The Matrix", 1999, {"tmdb": "603"}),
    ("The Matrix (1999) [tmdbid-603].mkv", "The Matrix", 1999, {"tmdb": "603"}),
    ("The Matrix (1999) [tmdb=603].mkv", "The Matrix", 1999, {"tmdb": "603"}),
    ("The Matrix (1999) [imdbid-tt0133093].mkv", "The Matrix", 1999, {"imdb": "tt0133093"}),
    ("The Matrix (1999) [tt0133093].mkv", "The Matrix", 1999, {"imdb": "tt0133093"}),
    ("Heat {tmdb-949}/a8f5f167f44f4964e6c998dee827110c.mkv", "Heat", None, {"tmdb": "949"}),
    ("Matrix {tmdb-604}/The Matrix (1999) {tmdb-603}.mkv", "The Matrix", 1999, {"tmdb": "603"}),
    ("Box {tmdb-1}/Film (2000) {tmdb-2}/x.mkv", "Film", 2000, {"tmdb": "2"}),
]
# path, title, year, kind of extra: it belongs to the film, and is none
EXTRAS = [
    ("Heat (1995)/Heat (1995)-trailer.mkv", "Heat", 1995, "trailer"),
    ("Heat (1995)-trailer.mkv", "Heat", 1995, "trailer"),
    ("Heat (1995)/trailer.mp4", "Heat", 1995, "trailer"),
    ("Heat (1995)/Trailers/First.mkv", "Heat", 1995, "trailer"),
    ("Heat (1995)/Extras/Making of.mkv", "Heat", 1995, "other"),
    ("Heat (1995)/Featurettes/On the set.mkv", "Heat", 1995, "featurette"),
    ("Heat (1995)/Behind The Scenes/1.mkv", "Heat", 1995, "behindthescenes"),
    ("Heat (1995)/Deleted Scenes/1.mkv", "Heat", 1995, "deleted"),
    ("Heat (1995)/Interviews/Pacino.mkv", "Heat", 1995, "interview"),
    ("Heat (1995)/Shorts/One.mkv", "Heat", 1995, "short"),
    ("Heat (1995)/Sample/heat-sample.mkv", "Heat", 1995, "sample"),
    ("Heat.1995.1080p.BluRay-GRP/sample-heat.mkv", "Heat", 1995, "sample"),
    ("Heat.1995.1080p.BluRay-GRP/heat.sample.mkv", "Heat", 1995, "sample"),
    ("Heat (1995)/Extended opening-deleted.mkv", "Heat", 1995, "deleted"),
    ("Heat (1995)/Bonus Disc/BDMV", "Heat", 1995, "other"),
    ("Heat (1995)/Heat (1995) - Making Of.mkv", "Heat", 1995, "behindthescenes"),
    ("Heat (1995)/Deleted Scenes.mkv", "Heat", 1995, "deleted"),
    ("Heat (1995)/Bloopers.mkv", "Heat", 1995, "other"),
    ("Heat (1995)/Behind-the-Scenes/1.mkv", "Heat", 1995, "behindthescenes"),
    ("Heat (1995)/Deleted.Scenes/1.mkv", "Heat", 1995, "deleted"),
    ("Heat (1995)/NCOP.mkv", "Heat", 1995, "theme"),
    ("Others/Heat (1995).mkv", "Heat", 1995, None),
    ("Movies/Shorts/Heat (1995)/Heat.mkv", "Heat", 1995, None),
    ("Making Of (2016)/Making Of.mkv", "Making Of", 2016, None),
    ("Trailer (2013)/Trailer.mkv", "Trailer", 2013, None),
    ("Heat (1995)/Premiere-featurette.mkv", "Heat", 1995, "featurette"),
    ("Heat.1995.1080p.BluRay.x264-SCENE.mkv", "Heat", 1995, None),
]

pytestmark = pytest.mark.usefixtures("no_guessing")


def test_names_of_films() -> None:
    assert misread(FILMS, "movies", "title", "year") == []
    assert misread(VERSIONS, "movies", "title", "year", "edition", "version") == []
    assert misread(PARTS, "movies", "title", "year", "part") == []
    assert misread(IDS, "movies", "title", "year", "ids") == []
    assert misread(EXTRAS, "movies", "title", "year", "extra") == []


def test_an_episode_among_films_is_taken_for_one() -> None:
    for path in (
        "The.Office.S02E07.720p.mkv",
        "The Office Season 2 Episode 7.mkv",
        "The Office/Staffel 2/The Office - 07.mkv",
        "The Office [HDTV][Cap. 207].avi",
    ):
        found = identify(path, "movies")
        assert found.is_episode
        assert (found.season, found.episodes) == (2, (7,))
    for title in ("Open Season 3/Open Season 3", "Saison 2/Mon Film (2010)", "Season 1 (2005)"):
        film = identify(f"{title}.mkv", "movies")
        assert not film.is_episode
    film = identify("The Office (2005).mkv", "movies")
    assert not film.is_episode
