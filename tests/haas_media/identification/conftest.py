"""How names are read, and where sets of names to measure against are found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.identification import fallback, identify
from tests.parts import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from haas_media.identification import Kind


def misread(rows: Iterable[Sequence[Any]], kind: Kind, *fields: str) -> list[tuple[Any, ...]]:
    """List the names of which something else is told than their row says, with both."""
    wrong = []
    for path, *expected in rows:
        found = identify(path, kind)
        told = [getattr(found, name) for name in fields] if not found.reason else found.reason
        wrong += [] if told == expected else [(path, expected, told)]
    return wrong


@pytest.fixture(scope="session")
def sets_of_names() -> Path:
    """Return the folder with sets of names that other parsers are measured by."""
    root = os.environ.get("HAAS_TEST_DATA") or Path(__file__).parents[4] / "shared"
    folder = Path(root) / "names"
    how = "set HAAS_TEST_DATA to the folder that has names/"
    require("a collection of names of other parsers", folder.is_dir(), how)
    return folder


@pytest.fixture
def no_guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a name gets as far as guessit, which no common name should."""

    def fail(name: str, kind: Kind) -> dict[str, Any]:
        pytest.fail(f"asked guessit about {name!r} ({kind})")

    monkeypatch.setattr(fallback, "_guess", fail)


@pytest.fixture
def guessed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the names that guessit is asked about, while it really answers."""
    asked: list[str] = []
    guess = fallback._guess

    def ask(name: str, kind: Kind) -> dict[str, Any]:
        asked.append(name)
        return guess(name, kind)

    monkeypatch.setattr(fallback, "_guess", ask)
    return asked
