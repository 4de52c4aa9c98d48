"""What a scan found and did, as plain data and as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from haas_media.wording import counted

if TYPE_CHECKING:
    from haas_media.settings import Kind

_MAX_LISTED = 200
# What a scan has done, and how files stand after it.
DONE = ("found", "new", "changed", "unchanged", "moved", "removed", "parsed", "probed")
_COUNTED = (*DONE, "matched", "unmatched", "pending", "extras")


@dataclass(frozen=True, slots=True)
class FileReason:
    """A file or folder and what is the matter with it; ``path`` is relative to the library."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """What a scan found in one library and did there.

    ``found`` counts the video files on disk, ``new``, ``changed``, ``unchanged`` and ``moved``
    are parts of it. ``removed``, ``parsed`` and ``probed`` are what the scan did. ``matched``,
    ``unmatched``, ``pending`` and ``extras`` are how the library's files stand now.
    """

    title: str
    kind: Kind
    online: bool = True
    offline_reason: str | None = None
    found: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    parsed: int = 0
    probed: int = 0
    matched: int = 0
    unmatched: int = 0
    pending: int = 0
    extras: int = 0
    unmatched_files: tuple[FileReason, ...] = ()
    problems: tuple[FileReason, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan found and did. ``duration`` in seconds.

    ``requests`` are those made to the provider; ``looked_up`` the titles it was asked for;
    ``people`` whose details were read.
    """

    libraries: tuple[LibraryReport, ...] = ()
    requests: int = 0
    looked_up: int = 0
    people: int = 0
    duration: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def offline(self) -> tuple[LibraryReport, ...]:
        """The libraries whose disk is offline."""
        return tuple(library for library in self.libraries if not library.online)

    def total(self, name: str) -> int:
        """Sum up one count over all libraries."""
        return sum(getattr(library, name) for library in self.libraries)

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        return {name: self.total(name) for name in _COUNTED} | {
            "requests": self.requests,
            "looked_up": self.looked_up,
            "people": self.people,
            "libraries": len(self.libraries),
            "offline_libraries": len(self.offline),
            "problems": sum(len(library.problems) for library in self.libraries),
        }

    def table(self) -> list[dict[str, Any]]:
        """Return one row a library, and one for all if there are several."""
        rows: list[dict[str, Any]] = [
            {
                "library": library.title,
                **{name: getattr(library, name) for name in _COUNTED},
                "state": f"offline: {library.offline_reason}" if not library.online else "online",
            }
            for library in self.libraries
        ]
        if len(rows) > 1:
            totals = {name: self.total(name) for name in _COUNTED}
            rows.append({"library": "all", **totals, "state": ""})
        return rows

    def summary(self) -> str:
        """Say in a sentence what the scan did."""
        did = ", ".join(
            f"{self.total(name)} {name}"
            for name in ("new", "changed", "moved", "removed", "parsed", "probed")
        )
        asked = f"; {counted(self.requests, 'request')}" if self.requests else ""
        return (
            f"Found {counted(self.total('found'), 'file')} in {self.duration:.1f} s: {did}{asked}. "
            f"Now {self.total('matched')} matched, {self.total('unmatched')} unmatched."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def to_markdown(self) -> str:
        """Return the report as Markdown, for an artifact or a terminal."""
        lines = ["# Library scan", "", self.summary(), ""]
        lines += [f"- {_cell(note)}" for note in self.notes]
        for library in self.offline:
            lines.append(
                f"- **{_cell(library.title)} is offline**: {library.offline_reason}. "
                "Nothing of it was removed."
            )
        lines += ["", *self._markdown_table()]
        for library in self.libraries:
            lines += _listed(f"Unmatched in {library.title}", library.unmatched_files)
            lines += _listed(f"Problems in {library.title}", library.problems)
        return "\n".join(lines).rstrip() + "\n"

    def _markdown_table(self) -> list[str]:
        rows = self.table()
        if not rows:
            return ["No library is set."]
        head = [*rows[0]]
        return [
            "| " + " | ".join(head) + " |",
            "|"
            + "|".join(" --- " if name in ("library", "state") else " ---: " for name in head)
            + "|",
            *("| " + " | ".join(_cell(str(row[name])) for name in head) + " |" for row in rows),
        ]


def _cell(text: str) -> str:
    for char in "\\`*_[]<>|#":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


def _listed(title: str, items: tuple[FileReason, ...]) -> list[str]:
    if not items:
        return []
    lines = ["", f"## {_cell(title)}", ""]
    lines += [f"- {_cell(item.path)}: {_cell(item.reason)}" for item in items[:_MAX_LISTED]]
    if len(items) > _MAX_LISTED:
        lines.append(f"- … and {len(items) - _MAX_LISTED} more")
    return lines
