"""NFO files as they occur: by the book, concatenated, misencoded, hostile."""

from __future__ import annotations

import codecs
import datetime as dt
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_media.identification.nfo import MAX_BYTES, Nfo, NfoError, parse_nfo, read_nfo

if TYPE_CHECKING:
    from pathlib import Path

KODI_MOVIE = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<!-- created on 2021-03-04 -->
<movie>
  <title>Stalker</title>
  <originaltitle>Сталкер</originaltitle>
  <sorttitle>Stalker</sorttitle>
  <rating>8.1</rating>
  <year>1979</year>
  <plot>A guide leads two men through the Zone.</plot>
  <runtime>162</runtime>
  <thumb aspect="poster">https://image.tmdb.org/t/p/original/movie/1.jpg</thumb>
  <genre>Drama</genre><genre>Science Fiction</genre><genre>Drama</genre>
  <premiered>1979-05-25</premiered>
  <uniqueid type="imdb">tt0079944</uniqueid>
  <uniqueid type="tmdb" default="true">1398</uniqueid>
  <actor><name>Alexander Kaidanovsky</name><role>Stalker</role></actor>
</movie>
"""


def one(text: str | bytes) -> Nfo:
    (nfo,) = parse_nfo(text.encode() if isinstance(text, str) else text)
    return nfo


def test_a_movie_by_the_book() -> None:
    assert one(KODI_MOVIE) == Nfo(
        kind="movie",
        title="Stalker",
        original_title="Сталкер",
        year=1979,
        date=dt.date(1979, 5, 25),
        overview="A guide leads two men through the Zone.",
        runtime=162,
        genres=("Drama", "Science Fiction"),
        vote_average=8.1,
        ids={"imdb": "tt0079944", "tmdb": "1398"},
    )


def test_an_episode_by_the_book() -> None:
    nfo = one(
        "<episodedetails><title>Lies</title><showtitle>Dark</showtitle><season>1</season>"
        "<episode>2</episode><aired>2017-12-01</aired>"
        "<uniqueid type='tvdb'>6377341</uniqueid></episodedetails>"
    )
    assert (nfo.kind, nfo.title, nfo.show_title) == ("episode", "Lies", "Dark")
    assert (nfo.season, nfo.episode, nfo.date) == (1, 2, dt.date(2017, 12, 1))


def test_several_roots_are_several_episodes() -> None:
    nfos = parse_nfo(
        b"<?xml version='1.0'?>\n<episodedetails><episode>1</episode></episodedetails>\n"
        b"<?xml version='1.0'?>\n<episodedetails><episode>2</episode></episodedetails>\n"
    )
    assert [nfo.episode for nfo in nfos] == [1, 2]
    (first, *others) = parse_nfo(
        b"<episodedetails><title>Lies</title><season>2</season><episode>3</episode>"
        b"<episodenumberend>5</episodenumberend></episodedetails>"
    )
    assert [(each.season, each.episode, each.title) for each in (first, *others)] == [
        (2, 3, "Lies"),
        (2, 4, None),
        (2, 5, None),
    ]


def test_a_bare_address() -> None:
    page = "▄▄ R E L E A S E ▄▄ <3\niMDB....: http://www.imdb.com/title/tt0133093\n&c"
    told: dict[str, Nfo] = {
        "https://www.themoviedb.org/movie/603-the-matrix": Nfo("movie", ids={"tmdb": "603"}),
        "https://www.themoviedb.org/tv/70523-dark?language=de": Nfo(
            "tvshow", ids={"tmdb": "70523"}
        ),
        "http://www.imdb.com/title/tt0133093/": Nfo(None, ids={"imdb": "tt0133093"}),
        "https://m.imdb.com/de/title/tt0133093/?ref_=x": Nfo(None, ids={"imdb": "tt0133093"}),
        "https://thetvdb.com/?tab=series&id=81189&lid=7": Nfo("tvshow", ids={"tvdb": "81189"}),
        "https://thetvdb.com/dereferrer/series/81189": Nfo("tvshow", ids={"tvdb": "81189"}),
        page: Nfo(None, ids={"imdb": "tt0133093"}),
    }
    assert {text: one(text) for text in told} == told


def test_an_address_behind_the_xml_adds_its_id() -> None:
    nfo = one(
        "<movie><title>Stalker</title></movie>\nhttps://www.imdb.com/title/tt0079944/?a=1&b=2"
    )
    assert (nfo.title, nfo.ids) == ("Stalker", {"imdb": "tt0079944"})


def test_an_address_inside_the_xml_is_not_the_titles() -> None:
    nfo = one(
        "<movie><title>A</title><trailer>https://www.imdb.com/title/tt0079944/</trailer></movie>"
    )
    assert nfo.ids == {}


def test_an_address_of_another_kind_adds_nothing() -> None:
    nfo = one("<tvshow><title>Dark</title></tvshow>https://www.themoviedb.org/movie/603")
    assert nfo.ids == {}


def test_what_tells_nothing_is_nothing() -> None:
    for nothing in (
        b"",
        b"   \n",
        b"release notes, no address",
        b"\xb0\xb1\xb2 ascii art < > \xdb\xdb",
        b"<html><body>not found</body></html>",
        b"<musicvideo><title>x</title></musicvideo>",
        b"\x00" * 100,
    ):
        assert parse_nfo(nothing) == (), nothing


def test_whatever_its_encoding() -> None:
    text = "<movie><title>Amélie</title></movie>"
    declared = '<?xml version="1.0" encoding="{}"?>' + text
    for encoded in (
        text.encode(),
        codecs.BOM_UTF8 + text.encode(),
        codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        text.encode("utf-16-le"),
        declared.format("utf-16").encode("utf-16-be"),
        f"\n{text}".encode("utf-16-le"),
        text.encode("cp1252"),
        declared.format("ISO-8859-1").encode("latin-1"),
        # What the declaration says is wrong.
        declared.format("ascii").encode(),
        declared.format("ISO-8859-1").encode(),
        declared.format("utf-16").encode(),
        declared.format("no-such").encode(),
        declared.format("idna").encode("cp1252"),
        declared.format("undefined").encode("cp1252"),
        declared.format("utf-8").encode("latin-1"),
    ):
        assert one(encoded).title == "Amélie", encoded


def test_small_errors_are_forgiven() -> None:
    titles = {
        "<title>Tom & Jerry</title>": "Tom & Jerry",
        "<title>Tom &amp; Jerry</title>": "Tom & Jerry",
        "<title>Am&eacute;lie&nbsp;!</title>": "Amélie\xa0!",
        "<title>R&D; x</title>": "R&D; x",
        "<title>a &lt; b &#38; c &#x26; d</title>": "a < b & c & d",
        "<title>bell\x07</title>": "bell",
        "<title><![CDATA[Am & Bm]]></title>": "Am & Bm",
        "<Title>Upper</Title>": "Upper",
        "<title></title><title>Second</title>": "Second",
    }
    assert {inner: one(f"<movie>{inner}</movie>").title for inner in titles} == titles


def test_ids_of_a_movie() -> None:
    ids: dict[str, dict[str, str]] = {
        "<tmdbid>603</tmdbid><imdbid>tt0133093</imdbid>": {"tmdb": "603", "imdb": "tt0133093"},
        "<id>tt0133093</id>": {"imdb": "tt0133093"},
        '<id TMDB="603" IMDB="tt0133093"/>': {"tmdb": "603", "imdb": "tt0133093"},
        '<uniqueid type="TMDB">603</uniqueid>': {"tmdb": "603"},
        '<uniqueid type="tmdb">0</uniqueid>': {},
        '<uniqueid type="tmdb">many</uniqueid>': {},
        '<uniqueid type="tmdb"/><uniqueid>12</uniqueid>': {},
        "<tmdbid>-1</tmdbid><imdbid>603</imdbid>": {},
        "<id>603</id>": {},
        "<tmdbid>99999999999999999999</tmdbid>": {},
        f"<tmdbid>{'0' * 5000}603</tmdbid>": {},
    }
    told = {inner: one(f"<movie><title>x</title>{inner}</movie>").ids for inner in ids}
    assert told == ids


def test_odd_values() -> None:
    expected: dict[str, dict[str, Any]] = {
        "<year>soon</year>": {"year": None},
        "<year>0</year>": {"year": None},
        "<year>9999</year><premiered>9999-12-31</premiered>": {"year": None, "date": None},
        "<year>2100</year><premiered>2100-01-01</premiered>": {"year": None, "date": None},
        "<year>1850</year><premiered>1850-01-01</premiered>": {"year": None, "date": None},
        "<year/><premiered>1979-05-25</premiered>": {"year": 1979},
        "<premiered>1979-13-45</premiered>": {"date": None, "year": None},
        "<runtime>162 min</runtime>": {"runtime": 162},
        "<runtime>long</runtime>": {"runtime": None},
        "<season>-1</season><episode>x</episode>": {"season": None, "episode": None},
        "<rating>8,5</rating>": {"vote_average": 8.5},
        "<rating>nan</rating>": {"vote_average": None},
        "<plot></plot><outline>Short.</outline>": {"overview": "Short."},
    }
    for inner, values in expected.items():
        nfo = one(f"<movie><title>x</title>{inner}</movie>")
        assert {name: getattr(nfo, name) for name in values} == values, inner


def test_what_is_malformed_is_refused_with_the_line() -> None:
    for text in (
        "<movie><title>Stalker</title>",
        "<movie><title>Stalker</movie>",
        "<movie><title>Stalker</title></movie",
        "<movie attribute><title>x</title></movie>",
        "<movie><title>a < b</title></movie>",
    ):
        with pytest.raises(NfoError, match=r"malformed XML \(line \d+: .*Mend or remove it"):
            parse_nfo(text.encode())


def test_entities_are_not_defined_by_strangers() -> None:
    title = "<title>&b;&secret;</title>"
    for doctype in (
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % remote SYSTEM "http://127.0.0.1:1/x"> %remote;]>',
    ):
        for text in (f"{doctype}<movie>{title}</movie>", f"<movie>{doctype}{title}</movie>"):
            with pytest.raises(NfoError):
                parse_nfo(text.encode())


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.nfo"
    with path.open("wb") as file:
        file.write(b"<movie>")
        file.truncate(MAX_BYTES * 100)
    with pytest.raises(NfoError, match="larger than 4 MiB"):
        read_nfo(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NfoError, match="cannot be read: Is a directory"):
        read_nfo(tmp_path)


def test_nesting_without_end_is_refused_or_ignored() -> None:
    deep = b"<movie>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</movie>"
    try:
        (nfo,) = parse_nfo(deep)
    except NfoError:
        return
    assert nfo.title is None


@pytest.mark.parametrize(
    "begun", ["<movie><?xml ", "<movie><!DOCTYPE ", "<movie><![CDATA[", "thetvdb.com/"]
)
def test_what_is_begun_again_and_again_does_not_hold_up_a_scan(begun: str) -> None:
    """Looked through to its end each time, it would take an hour, and hear no cancel."""
    unit = begun.removeprefix("<movie>")
    script = (
        "from contextlib import suppress\n"
        "from haas_media.identification.nfo import MAX_BYTES, NfoError, parse_nfo\n"
        f"text = {begun!r} + {unit!r} * (MAX_BYTES // {len(unit)} - 2)\n"
        "with suppress(NfoError):\n"
        "    parse_nfo(text.encode())\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_an_ampersand_before_in_and_behind_cdata() -> None:
    text = "<movie><title>A & <![CDATA[B & C &amp; D]]> & E</title><plot><![CDATA[x</plot></movie>"
    with pytest.raises(NfoError):
        parse_nfo(text.encode())
    (nfo,) = parse_nfo(text.replace("<![CDATA[x", "x").encode())
    assert nfo.title == "A & B & C & D & E"


some_bytes = st.binary(max_size=300)
some_xml = st.text(max_size=200).map(lambda text: f"<movie>{text}</movie>".encode())


@given(some_bytes | some_xml)
def test_any_content_is_read_or_refused_with_a_sentence(data: bytes) -> None:
    with suppress(NfoError):
        assert all(isinstance(nfo, Nfo) for nfo in parse_nfo(data))


def test_an_id_of_unknown_origin_beside_typed_ones_is_nobodys() -> None:
    (maze,) = parse_nfo(
        b'<tvshow><id>46562</id><uniqueid type="tvmaze" default="true">46562</uniqueid></tvshow>'
    )
    (both,) = parse_nfo(b'<tvshow><id>1399</id><uniqueid type="tmdb">1399</uniqueid></tvshow>')
    (bare,) = parse_nfo(b"<tvshow><id>1399</id></tvshow>")
    (tag,) = parse_nfo(b"<tvshow><id>1399</id><tmdbid>1399</tmdbid></tvshow>")
    assert (maze.ids, both.ids, bare.ids) == ({}, {"tmdb": "1399"}, {"tvdb": "1399"})
    (attribute,) = parse_nfo(b'<tvshow><id TMDB="3">1399</id></tvshow>')
    assert (tag.ids, attribute.ids) == ({"tmdb": "1399"}, {"tmdb": "3"})


def test_a_year_before_films_is_absent_and_what_is_escaped_twice_is_read() -> None:
    (nfo,) = parse_nfo(
        b"<movie><title>Tom &amp;amp; Gerry</title><premiered>0001-01-01</premiered></movie>"
    )
    assert (nfo.title, nfo.year, nfo.date) == ("Tom & Gerry", None, None)


def test_a_title_of_wrong_letters_is_none() -> None:
    """What another program decoded as what it was not, and wrote so."""
    wrong = [
        "Брат".encode("cp1251").decode("latin-1"),
        "Брат 2".encode("koi8-r").decode("latin-1"),
        "Брат".encode().decode("latin-1"),
        "Amélie".encode().decode("cp1252"),
        "Αστέρι".encode("cp1253").decode("cp1252"),
        "Zażółć gęślą".encode("iso8859-2").decode("latin-1"),
        "电影故事".encode("gbk").decode("latin-1"),
        "영화 이야기".encode("euc_kr").decode("latin-1"),
        "Ma\ufffdtre",
        "????",
    ]
    right = [
        "Été",
        "Amélie",
        "Où est la main",
        "Öö",
        "Ça",
        "Þór",
        "Брат",
        "千と千尋",
        "¡Ay!",
        "WALL·E",
        "8½",
    ]
    told = {t: one(f"<movie><title>{t}</title></movie>").title for t in (*wrong, *right)}
    assert told == dict.fromkeys(wrong) | {title: title for title in right}


def test_the_year_behind_a_title_is_the_year() -> None:
    told = {
        "<title>The Flash (2014)</title>": ("The Flash", 2014),
        "<title>Heat (1995)</title><year>1996</year>": ("Heat", 1996),
        "<title>Office (3000)</title>": ("Office (3000)", None),
    }
    found = {inner: one(f"<tvshow>{inner}</tvshow>") for inner in told}
    assert {inner: (nfo.title, nfo.year) for inner, nfo in found.items()} == told


def test_text_in_an_encoding_that_is_not_declared_is_detected() -> None:
    words = "<movie><title>Брат</title><plot>Демобилизовавшись, он едет к брату.</plot></movie>"
    (nfo,) = parse_nfo(words.encode("cp1251"))
    assert (nfo.title, nfo.unsure) == ("Брат", True)
    assert not one(words).unsure
    assert not one("<movie><title>Größe</title></movie>".encode("cp1252")).unsure
