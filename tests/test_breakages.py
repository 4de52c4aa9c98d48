"""The list of breakages fits the code and the tests as they are; ``make breakages`` tries it."""

from __future__ import annotations

from tests.breakages import LIST, problems, read


def test_every_code_is_found_once_and_every_test_exists() -> None:
    breakages = read(LIST.read_text())
    assert len(breakages) > 100
    assert problems(breakages) == []
