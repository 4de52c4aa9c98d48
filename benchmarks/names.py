"""Names read right, and how fast, beside guessit alone.

A name is right when every field that its set asserts is right: titles without regard to case,
punctuation and spaces, a run of episodes by its ends or by all its numbers.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guessit import guessit

from haas_media.names import Kind, identify

FIELDS = ("title", "year", "season", "episodes")


@dataclass(frozen=True, slots=True)
class Score:
    """How many names of a set are right, exactly and compared as people would; and seconds."""

    name: str
    names: int
    guessit: int
    ours: int
    guessit_exact: int
    ours_exact: int
    guessit_seconds: float
    our_seconds: float


def folder_of_sets() -> Path:
    """Return the folder with the sets: `HAAS_TEST_DATA/names`."""
    root = os.environ.get("HAAS_TEST_DATA") or Path(__file__).parents[2] / "shared"
    return Path(root) / "names"


def measure(folder: Path) -> list[Score]:
    """Score every set of a folder."""
    identify("warm up [", "movies")
    return [_score(path) for path in sorted(folder.glob("*.json"))]


def _score(path: Path) -> Score:
    records = json.loads(path.read_text())
    begun = time.perf_counter()
    alone = [_guess(record) for record in records]
    between = time.perf_counter()
    ours = [identify(record["path"], _kind(record)).to_json() for record in records]
    ended = time.perf_counter()

    def right(answers: list[dict[str, Any]], *, exact: bool) -> int:
        pairs = zip(records, answers, strict=True)
        return sum(is_right(record, answer, exact=exact) for record, answer in pairs)

    return Score(
        path.stem,
        len(records),
        right(alone, exact=False),
        right(ours, exact=False),
        right(alone, exact=True),
        right(ours, exact=True),
        between - begun,
        ended - between,
    )


def _kind(record: dict[str, Any]) -> Kind:
    return "movies" if record["type"] == "movie" else "tv"


def _guess(record: dict[str, Any]) -> dict[str, Any]:
    guess = guessit(record["path"], {"type": record["type"]})
    return {**guess, "episodes": guess.get("episode")}


def is_right(record: dict[str, Any], answer: dict[str, Any], *, exact: bool) -> bool:
    """Tell whether an answer has every field right that a record asserts."""
    return all(
        _same(field, record[field], answer.get(field), exact=exact)
        for field in FIELDS
        if field in record
    )


def _same(field: str, wanted: Any, got: Any, *, exact: bool) -> bool:
    if field == "title":
        return bool(wanted == got) if exact else _folded(wanted) == _folded(got)
    if field == "year":
        return bool(wanted == got)
    numbers, found = _listed(wanted), _listed(got)
    ends = len(numbers) == 2 and found == list(range(numbers[0], numbers[1] + 1))
    return numbers == found or (ends and not exact)


def _listed(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return sorted(number for number in values if number is not None)


def _folded(title: Any) -> str:
    text = unicodedata.normalize("NFKC", str(title or "")).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def main() -> None:
    """Print the table."""
    folder = folder_of_sets()
    scores = measure(folder)
    if not scores:
        sys.exit(f"No sets of names in {folder}: set HAAS_TEST_DATA to the folder with names/.")
    print(f"{'set':10}{'names':>7}{'guessit':>9}{'ours':>7}  {'(exact)':>12}{'faster':>9}")
    for score in scores:
        exact = f"({score.guessit_exact}, {score.ours_exact})"
        ratio = score.guessit_seconds / score.our_seconds
        right = f"{score.names:7}{score.guessit:9}{score.ours:7}"
        print(f"{score.name:10}{right}  {exact:>12}{ratio:8.0f}x")
    wrong_alone = sum(score.names - score.guessit for score in scores)
    wrong = sum(score.names - score.ours for score in scores)
    ratio = sum(s.guessit_seconds for s in scores) / sum(s.our_seconds for s in scores)
    print(f"\nwrong: guessit {wrong_alone}, ours {wrong} ({wrong / wrong_alone:.2f} of guessit's)")
    print(f"guessit takes {ratio:.0f} times as long over all sets")
    print(f"a library as its tools write it: guessit takes {_library_ratio():.0f} times as long")


def _library_ratio() -> float:
    """Compare the time for names as Radarr, Sonarr and their like write them."""
    films = [
        f"Some Title {i} (19{i % 90 + 10})/Some Title {i} (19{i % 90 + 10}) - 1080p.mkv"
        for i in range(200)
    ]
    shows = [
        f"Show {i} (2010)/Season 02/Show {i} - S02E{i % 24 + 1:02} - Name.mkv" for i in range(200)
    ]
    begun = time.perf_counter()
    for film, show in zip(films, shows, strict=True):
        guessit(film, {"type": "movie"})
        guessit(show, {"type": "episode"})
    between = time.perf_counter()
    for film, show in zip(films, shows, strict=True):
        identify(film, "movies")
        identify(show, "tv")
    return (between - begun) / (time.perf_counter() - between)


if __name__ == "__main__":
    main()
