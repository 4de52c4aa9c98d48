"""What a scan found and did, as plain data and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from haas_media.markdown import Report, escaped, markdown_list
from haas_media.wording import counted

if TYPE_CHECKING:
    from haas_media.settings import Kind

# What a scan has done, and how files stand after it.
DONE = ("found", "new", "changed", "unchanged", "moved", "removed", "parsed", "probed")
_COUNTED = (*DONE, "matched", "unmatched", "pending", "extras")


@dataclass(frozen=True, slots=True)
class FileReason:
    """A file or folder and what is the matter with it; ``path`` is relative to the library."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


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
class ScanReport(Report):
    """What a scan found and did. ``duration`` in seconds.

    ``requests`` are those made to the provider; ``looked_up`` the titles it was asked for;
    ``people`` whose details were read.
    """

    heading = "Library scan"

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

    def before_table(self) -> list[str]:
        """Say what was noted, and which disks are offline."""
        notes = [f"- {escaped(note)}" for note in self.notes]
        return notes + [
            f"- **{escaped(library.title)} is offline**: {escaped(library.offline_reason or '')}. "
            "Nothing of it was removed."
            for library in self.offline
        ]

    def after_table(self) -> list[str]:
        """List unmatched files and problems."""
        lines: list[str] = []
        for library in self.libraries:
            lines += markdown_list(f"Unmatched in {library.title}", library.unmatched_files)
            lines += markdown_list(f"Problems in {library.title}", library.problems)
        return lines
