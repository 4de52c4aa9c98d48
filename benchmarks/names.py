"""Names read wrong, names read right, and how fast, beside guessit alone.

A name is right when every field that its set asserts is right: titles without regard to case,
punctuation and spaces, a run of episodes by its ends or by all its numbers. It is wrong when it is
taken for another title, another season or another episode; a name that is not taken for anything is
not wrong. Records that are mislabelled, by `mislabelled.txt` with the reason, count for neither.
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

from haas_media.identification import Kind, identify

HERE = Path(__file__).parent
NAMES = HERE.parent / "tests" / "haas_media" / "identification" / "names.txt"
FIELDS = ("title", "year", "season", "episodes")


@dataclass(frozen=True, slots=True)
class Score:
    """How many names of a set are right, and how many seconds they took."""

    name: str
    names: int
    guessit: int
    ours: int
    guessit_seconds: float
    our_seconds: float


def folder_of_sets() -> Path:
    """Return the folder with the sets: `HAAS_TEST_DATA/names`."""
    root = os.environ.get("HAAS_TEST_DATA") or Path(__file__).parents[2] / "shared"
    return Path(root) / "names"


@dataclass(frozen=True, slots=True)
class Named:
    """A name with what it means, of a set or of a class of names."""

    of: str
    kind: Kind
    path: str
    want: dict[str, Any]


def own_names(file: Path = NAMES) -> list[Named]:
    """Read names by class: `path ; title ; year ; S1E2,3 ; COUNTRY`, several titles with `~`.

    For the title stands `none` where the name has none, `extra`, or `special` for what must never
    be taken for an episode of a season but the specials'.
    """
    found = []
    for line in file.read_text().splitlines():
        if line.startswith("# "):
            kind, _, of = line[2:].partition(": ")
            continue
        path, title, *rest = line.split(" ; ")
        want: dict[str, Any] = {"title": title.split("~")}
        for part in rest:
            numbers = re.fullmatch(r"(?:S([0-9]+))?(?:E([0-9,]+))?", part)
            if numbers and numbers[1]:
                want["season"] = int(numbers[1])
            if numbers and numbers[2]:
                want["episodes"] = [int(number) for number in numbers[2].split(",")]
            if not numbers:
                want["year" if part.isdecimal() else "country"] = (
                    int(part) if part.isdecimal() else part
                )
        found.append(Named(of, "movies" if kind == "movies" else "tv", path, want))
    return found


def case_names(file: Path) -> list[Named]:
    """Read lines of JSON with `kind`, `path`, `want` and `class`."""
    rows = [json.loads(line) for line in file.read_text().splitlines() if line]
    return [Named(row["class"], row["kind"], row["path"], row["want"]) for row in rows]


def set_names(folder: Path) -> list[Named]:
    """Read the sets of other parsers, less what is mislabelled."""
    wrong = mislabelled()
    return [
        Named(path.stem, _kind(record), record["path"], record)
        for path in sorted(folder.glob("*.json"))
        for record in json.loads(path.read_text())
        if record["path"] not in wrong
    ]


def mislabelled() -> dict[str, str]:
    """Return the paths of records that assert what their names do not say, with the reasons."""
    lines = (HERE / "mislabelled.txt").read_text().splitlines()
    return dict(line.split(" ;; ") for line in lines if line)


def judge(name: Named) -> str:
    """Return `right`, `wrong` or `unmatched`; `right` with all fields, `wrong` as said above."""
    found = identify(name.path, name.kind)
    special = name.want.get("title") == ["special"]
    if found.reason:
        return "right" if special else "unmatched"
    told = {**found.to_json(name.path), "titles": (found.title, *found.other_titles)}
    if name.want.get("extra") or name.want.get("title") == ["extra"]:
        return "right" if found.extra and found.title and not found.episodes else "wrong"
    if special:
        return "right" if found.season == 0 or not found.episodes else "wrong"
    fields = [key for key in ("title", "season", "episodes", "year", "country") if key in name.want]
    bad = [key for key in fields if not _means(key, name.want[key], told)]
    said = [
        key for key in bad[:] if key in ("title", "season", "episodes") and told[key] is not None
    ]
    return "wrong" if said else "unmatched" if bad else "right"


def _means(field: str, wanted: Any, told: dict[str, Any]) -> bool:
    if field == "title":
        titles = wanted if isinstance(wanted, list) else [wanted]
        if told["title"] is None:
            return bool(titles == ["none"])
        # A name with two titles says both, and both are asked for.
        return not {*map(_letters, titles)}.isdisjoint(map(_letters, told["titles"]))
    got = told[field]
    return bool(wanted == got) if field == "country" else _same(field, wanted, got)


def _letters(title: Any) -> str:
    return _folded(title).replace(" ", "")


def measure(folder: Path) -> list[Score]:
    """Score every set of a folder."""
    identify("warm up [", "movies")
    return [_score(path) for path in sorted(folder.glob("*.json"))]


def _score(path: Path) -> Score:
    records = json.loads(path.read_text())
    begun = time.perf_counter()
    alone = [_guess(record) for record in records]
    between = time.perf_counter()
    ours = [identify(record["path"], _kind(record)).to_json("") for record in records]
    ended = time.perf_counter()

    def right(answers: list[dict[str, Any]]) -> int:
        return sum(is_right(*pair) for pair in zip(records, answers, strict=True))

    return Score(
        path.stem,
        len(records),
        right(alone),
        right(ours),
        between - begun,
        ended - between,
    )


def _kind(record: dict[str, Any]) -> Kind:
    return "movies" if record["type"] == "movie" else "tv"


def _guess(record: dict[str, Any]) -> dict[str, Any]:
    guess = guessit(record["path"], {"type": record["type"]})
    return {**guess, "episodes": guess.get("episode")}


def is_right(record: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Tell whether an answer has every field right that a record asserts."""
    return all(
        _same(field, record[field], answer.get(field)) for field in FIELDS if field in record
    )


def _same(field: str, wanted: Any, got: Any) -> bool:
    if field == "title":
        return _folded(wanted) == _folded(got)
    if field == "year":
        return bool(wanted == got)
    numbers, found = _listed(wanted), _listed(got)
    ends = len(numbers) == 2 and found == list(range(numbers[0], numbers[1] + 1))
    return numbers == found or ends


def _listed(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return sorted(number for number in values if number is not None)


def _folded(title: Any) -> str:
    text = unicodedata.normalize("NFKC", str(title or "")).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def main() -> None:
    """Print the share of wrong names, what is mislabelled, and the tables."""
    folder = folder_of_sets()
    scores = measure(folder)
    if not scores:
        sys.exit(f"No sets of names in {folder}: set HAAS_TEST_DATA to the folder with names/.")
    cases = case_names(folder.parent / "cases" / "names.jsonl")
    _print_wrong([*own_names(), *cases, *set_names(folder)])
    _print_classes(own_names())
    print(f"{'set':10}{'names':>7}{'guessit':>9}{'ours':>7}{'faster':>9}")
    for score in scores:
        ratio = score.guessit_seconds / score.our_seconds
        print(f"{score.name:10}{score.names:7}{score.guessit:9}{score.ours:7}{ratio:8.0f}x")
    wrong_alone = sum(score.names - score.guessit for score in scores)
    wrong = sum(score.names - score.ours for score in scores)
    ratio = sum(s.guessit_seconds for s in scores) / sum(s.our_seconds for s in scores)
    print(f"\nwrong: guessit {wrong_alone}, ours {wrong} ({wrong / wrong_alone:.2f} of guessit's)")
    print(f"guessit takes {ratio:.0f} times as long over all sets")
    print(f"a library as its tools write it: guessit takes {_library_ratio():.0f} times as long")


def _print_wrong(names: list[Named]) -> None:
    judged = [(name, judge(name)) for name in names]
    taken = sum(verdict != "unmatched" for _, verdict in judged)
    wrong = [name for name, verdict in judged if verdict == "wrong"]
    print(f"wrong: {len(wrong)} of {taken} names taken for something: {len(wrong) / taken:.2%}")
    for name in wrong:
        print(f"  {name.of}: {name.path}")
    print(f"not counted, as they are mislabelled: {len(mislabelled())}")
    for path, reason in mislabelled().items():
        print(f"  {path}\n    {reason}")


def _print_classes(names: list[Named]) -> None:
    print("\nright, by class of names")
    by_class: dict[str, list[bool]] = {}
    for name in names:
        by_class.setdefault(name.of, []).append(judge(name) == "right")
    for of, right in by_class.items():
        print(f"{sum(right):4} of {len(right)}  {of}")
    print()


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
