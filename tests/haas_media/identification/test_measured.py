"""Against names that the authors of other parsers collected, side by side with guessit alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.names import judge, measure, mislabelled, own_names, set_names

if TYPE_CHECKING:
    from pathlib import Path

# Right in each set so far: a rule that gains names elsewhere must not lose more of these.
RIGHT = {"anitomy": 163, "goptn": 83, "ptn": 76, "ptt": 427, "thcolin": 145}


def test_no_set_loses_what_was_right_and_half_of_guessits_errors_are_gone(
    sets_of_names: Path,
) -> None:
    scores = measure(sets_of_names)
    assert [score for score in scores if score.ours < RIGHT.get(score.name, 0)] == []
    assert {score.name for score in scores} == set(RIGHT)
    wrong = sum(score.names - score.ours for score in scores)
    assert 2 * wrong <= sum(score.names - score.guessit for score in scores)


def test_names_are_left_unmatched_rather_than_wrong(sets_of_names: Path) -> None:
    verdicts = [judge(name) for name in (*own_names(), *set_names(sets_of_names))]
    taken = len(verdicts) - verdicts.count("unmatched")
    assert taken > 1400
    assert verdicts.count("wrong") <= 0.005 * taken


def test_what_is_mislabelled_has_a_reason_and_is_in_a_set(sets_of_names: Path) -> None:
    records = {
        record["path"]
        for path in sets_of_names.glob("*.json")
        for record in json.loads(path.read_text())
    }
    assert set(mislabelled()) <= records
    assert all(mislabelled().values())
