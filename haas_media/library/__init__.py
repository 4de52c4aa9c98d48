"""What is done to the catalog on request or by schedule: add, refresh, remove, clean up, prune.

Each operation is in a module of its own; here is how people and deployments name a title.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haas_media.markdown import Report

if TYPE_CHECKING:
    from haas_media.providers.records import TitleKind


class TitleUnknown(Exception):
    """There is no such title. The text is a sentence that says where it was looked for."""


def named(kind: TitleKind, tmdb_id: int, title: str = "", year: int | None = None) -> str:
    """Return how a title is called in reports: ``The Matrix (1999), movie 603``."""
    what = f"{'movie' if kind == 'movie' else 'show'} {tmdb_id}"
    if not title:
        return what
    return f"{title} ({year}), {what}" if year else f"{title}, {what}"


@dataclass(frozen=True, slots=True)
class TitleReport(Report):
    """What was done to one title."""

    kind: TitleKind
    tmdb_id: int
    title: str
    year: int | None

    @property
    def named(self) -> str:
        """How the title is called in sentences."""
        return named(self.kind, self.tmdb_id, self.title, self.year)

    def table(self) -> list[dict[str, Any]]:
        """Return one row."""
        title = f"{self.title} ({self.year})" if self.year else self.title
        return [{"title": title, "kind": self.kind, "tmdb_id": self.tmdb_id, **self.counts()}]
