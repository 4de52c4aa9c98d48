"""Against names that the authors of other parsers collected, side by side with guessit alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.names import measure

if TYPE_CHECKING:
    from pathlib import Path


def test_at_least_as_many_right_in_each_set_and_half_the_errors(sets_of_names: Path) -> None:
    scores = measure(sets_of_names)
    assert scores, f"{sets_of_names} holds no set"
    assert [score.name for score in scores if score.ours < score.guessit] == []
    wrong = sum(score.names - score.ours for score in scores)
    wrong_alone = sum(score.names - score.guessit for score in scores)
    assert 2 * wrong <= wrong_alone
