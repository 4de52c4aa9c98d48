"""The table of rules by its own examples, and every class of names right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.names import case_names, judge, own_names
from haas_media.identification.rules import TABLE

if TYPE_CHECKING:
    from pathlib import Path


def test_rules_find_what_their_examples_mark_and_nothing_in_what_looks_alike() -> None:
    wrong = []
    for rule in TABLE:
        assert rule.meaning
        assert rule.examples, rule.meaning
        for example in rule.examples:
            text = re.sub("[‹›]", "", example)
            found = rule.pattern.search(text)
            marked = f"{text[: found.start()]}‹{found[0]}›{text[found.end() :]}" if found else text
            wrong += [] if marked == example else [(rule.meaning, example, marked)]
        wrong += [(rule.meaning, text) for text in rule.but if rule.pattern.search(text)]
    assert wrong == []


def test_every_name_of_every_class_is_right() -> None:
    names = own_names()
    assert len({name.of for name in names}) == 35
    assert [name for name in names if judge(name) != "right"] == []


def test_cases_of_others_are_right(sets_of_names: Path) -> None:
    names = case_names(sets_of_names.parent / "cases" / "names.jsonl")
    assert names
    assert [name for name in names if judge(name) != "right"] == []
