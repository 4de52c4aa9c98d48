"""What a refresh did, as plain data and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from haas_media.library.people import PeopleReport
from haas_media.library.reports import escaped, markdown_list, markdown_table, plain_json
from haas_media.wording import counted

if TYPE_CHECKING:
    from haas_media.library.refresh_plan import RefreshKind

NAMES = {"movie": "movies", "tv": "shows", "person": "people"}
_COUNTED = ("known", "unchanged", "refreshed", "gone", "unusable", "unreachable")


@dataclass(frozen=True, slots=True)
class Problem:
    """A title or person, and why it could not be refreshed."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class KindReport:
    """What a refresh did with movies, shows or people.

    ``unchanged`` are current without having been read. ``gone`` are no longer at TMDb and are
    kept, as are ``unusable`` ones; ``unreachable`` ones are read by the next refresh.
    """

    kind: RefreshKind
    known: int = 0
    unchanged: int = 0
    refreshed: int = 0
    gone: tuple[Problem, ...] = ()
    unusable: tuple[Problem, ...] = ()
    unreachable: tuple[Problem, ...] = ()
    note: str = ""

    def count(self, name: str) -> int:
        """Return one of the counts, or the length of one of the lists."""
        value = getattr(self, name)
        return value if isinstance(value, int) else len(value)


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did. ``people_added``: details read of people new to refreshed titles."""

    kinds: tuple[KindReport, ...] = ()
    people_added: PeopleReport = field(default_factory=PeopleReport)
    requests: int = 0
    duration: float = 0.0

    def total(self, name: str) -> int:
        """Sum up one count over movies, shows and people."""
        return sum(kind.count(name) for kind in self.kinds)

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        refreshed = {NAMES[kind.kind]: kind.refreshed for kind in self.kinds}
        return {
            **{name: self.total(name) for name in _COUNTED},
            **refreshed,
            "people_added": self.people_added.fetched,
            "requests": self.requests,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return one row for movies, shows and people each."""
        return [
            {"kind": NAMES[kind.kind], **{name: kind.count(name) for name in _COUNTED}}
            for kind in self.kinds
        ]

    def summary(self) -> str:
        """Say in a sentence what the refresh did."""
        did = ", ".join(f"{k.refreshed} of {k.known} {NAMES[k.kind]}" for k in self.kinds)
        return (
            f"Refreshed {did} with {counted(self.requests, 'request')} in {self.duration:.1f} s; "
            f"{self.total('unchanged')} had not changed."
        )

    def to_markdown(self) -> str:
        """Return the report as Markdown, for an artifact or a terminal."""
        lines = ["# Metadata refresh", "", self.summary(), ""]
        lines += [f"- {escaped(kind.note)}." for kind in self.kinds if kind.note]
        lines += ["", *markdown_table(self.table())]
        for title, name in (
            ("No longer at TMDb, kept here", "gone"),
            ("Not usable as TMDb has them, kept as they were", "unusable"),
            ("Not reached, read by the next refresh", "unreachable"),
        ):
            problems = [problem for kind in self.kinds for problem in getattr(kind, name)]
            lines += markdown_list(title, [f"{p.what}: {p.reason}" for p in problems])
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return plain_json(self)
