"""What holds for every name, however odd."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from haas_media.identification import Kind, identify

KINDS: st.SearchStrategy[Kind] = st.sampled_from(["movies", "tv"])
WORDS = st.sampled_from(
    ["Show", "(2010)", "2012", "S01E02", "1x02", "-", "03", "[Group]", "1080p", "Season 1", "/",
     " / ", "Part 2", "E05-E07", "{tmdb-603}", "(", "]", "2010-05-23", "Сезон 2", "第03話", "v2",
     "Extras", "-trailer", "x264-GRP", ".", "_", "CD1", "Title", "千と千尋", "99", ".mkv", "#7"]
)  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=60),
    st.lists(WORDS, max_size=9).map(" ".join),
    st.lists(WORDS, max_size=9).map(".".join),
    st.lists(WORDS, max_size=9).map("".join),
)


@given(NAMES, KINDS)
def test_every_name_has_an_answer_that_holds_together(name: str, kind: Kind) -> None:
    found = identify(name, kind)
    assert identify(name, kind) == found
    json.dumps(found.to_json(name))
    if found.reason:
        return
    assert found.title is None or found.title.strip()
    assert found.title is None or any(map(str.isalnum, found.title))
    assert list(found.episodes) == sorted(set(found.episodes))
    assert len(found.episodes) <= 400
    assert found.absolute in ((), found.episodes)
    assert not (found.absolute and found.season is not None)
    assert not (found.date and found.season is not None)
    assert found.extra or found.title or found.ids or found.is_episode
    if kind == "movies" and not found.is_episode:
        assert found.absolute == ()


@given(st.integers(0, 99), st.integers(1, 999))
def test_season_and_episode_are_read_back(season: int, episode: int) -> None:
    found = identify(f"Show (2010)/Season {season:02}/Show - S{season:02}E{episode:02}.mkv", "tv")
    assert (found.title, found.year) == ("Show", 2010)
    assert (found.season, found.episodes) == (season, (episode,))


@given(
    st.from_regex(r"[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9}){1,3}", fullmatch=True),
    st.integers(1900, 2025),
)
def test_title_and_year_are_read_back(title: str, year: int) -> None:
    found = identify(f"{title} ({year})/{title} ({year}).mkv", "movies")
    assert found.year == year


def test_json_has_the_fields_of_the_command_line() -> None:
    path = "Show (2010)/Season 1/Show S01E02-E03 {tvdb-1}.mkv"
    assert identify(path, "tv").to_json(path) == {
        "path": path,
        "title": "Show",
        "year": 2010,
        "country": None,
        "season": 1,
        "episodes": [2, 3],
        "date": None,
        "absolute": [],
        "ids": {"tvdb": "1"},
        "extra": None,
        "edition": None,
        "version": None,
        "part": None,
    }
    assert identify("Show/2010-05-23.mkv", "tv").to_json("")["date"] == "2010-05-23"
