"""Naming a title by its kind and id, as people and deployments do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from haas_media.catalog.models import Movie, Show

if TYPE_CHECKING:
    from haas_media.progress import OnProgress

TitleKind = Literal["movie", "tv"]
LARGEST_ID = 2**31 - 1


class TitleUnknown(Exception):
    """There is no such title. The text is a sentence that says where it was looked for."""


def check_title(kind: str, tmdb_id: int) -> None:
    """Refuse what cannot name a title.

    Raises:
        ValueError: the kind is another one, or the id is out of range.
    """
    if kind not in ("movie", "tv"):
        raise ValueError(f"kind must be 'movie' or 'tv', not {kind!r}")
    if isinstance(tmdb_id, bool) or not isinstance(tmdb_id, int):
        raise ValueError(f"tmdb_id must be a number, not {tmdb_id!r}")
    if not 1 <= tmdb_id <= LARGEST_ID:
        raise ValueError(f"tmdb_id must be from 1 to {LARGEST_ID}, not {tmdb_id}")


def model_of(kind: TitleKind) -> type[Movie] | type[Show]:
    """Return the table of titles of that kind."""
    return Movie if kind == "movie" else Show


def named(kind: TitleKind, tmdb_id: int, title: str = "", year: int | None = None) -> str:
    """Return how a title is called in reports: ``The Matrix (1999), movie 603``."""
    what = f"{'movie' if kind == 'movie' else 'show'} {tmdb_id}"
    if not title:
        return what
    return f"{title} ({year}), {what}" if year else f"{title}, {what}"


def ignore_progress(_: object) -> None:
    """Stand in for somebody who does not want to know."""


def listener(on_progress: OnProgress | None) -> OnProgress:
    """Return whom to tell of progress."""
    return on_progress or ignore_progress
