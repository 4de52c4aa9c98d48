"""Removing a title on request; giving its files back when it is added again.

Its people are left to the cleanup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from haas_media.catalog import file_state
from haas_media.catalog.library_rows import count, hold
from haas_media.catalog.models import (
    Credit,
    Episode,
    Folder,
    MediaFile,
    Season,
    title_column,
    title_model,
)
from haas_media.library import TitleReport, TitleUnknown, named
from haas_media.wording import counted, counted_people

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import TitleKind


@dataclass(frozen=True, slots=True)
class RemoveReport(TitleReport):
    """What was removed. ``person_ids``: those who had a part in it, for the cleanup."""

    heading = "Removed from the library"

    person_ids: tuple[int, ...]
    seasons: int = 0
    episodes: int = 0
    credits: int = 0
    files: int = 0

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        return {
            "removed": 1,
            "seasons": self.seasons,
            "episodes": self.episodes,
            "credits": self.credits,
            "files": self.files,
            "people": len(self.person_ids),
        }

    def summary(self) -> str:
        """Say in a sentence what was done."""
        parts = [counted(self.episodes, "episode")] if self.kind == "tv" else []
        parts += [counted(self.credits, "credit")]
        files = counted(self.files, "file stays on disk and is", "files stay on disk and are")
        return (
            f"Removed {self.named} with {' and '.join(parts)} "
            f"of {counted_people(len(self.person_ids))}."
            f"{f' Its {files} listed as unmatched.' if self.files else ''}"
        )


def remove_from_library(catalog: Catalog, kind: TitleKind, tmdb_id: int) -> RemoveReport:
    """Remove a movie or a show with its seasons, episodes and credits, in one transaction.

    Files on disk are not touched. Their records stay, unmatched with the removal as the reason, so
    that the next scan does not bring the title back: it looks at a file again only when the file
    changes, or when the title is added to the library again. A file that is new to the library is
    identified as any other.

    Raises:
        TitleUnknown: the library has no such title.
    """
    return catalog.write(lambda session: _remove(session, kind, tmdb_id))


def _remove(session: Session, kind: TitleKind, tmdb_id: int) -> RemoveReport:
    model = title_model(kind)
    hold(session, select(MediaFile.library_id).where(_belongs_to(kind, tmdb_id)))
    # Held, so that whoever stores this title at this moment takes turns with us.
    found = session.execute(
        select(model.id, model.title, model.year).where(model.tmdb_id == tmdb_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise TitleUnknown(
            f"The library has no {named(kind, tmdb_id)}; "
            "'haas library' lists what it has, with ids."
        )
    title_id: int = found.id
    credits_of_it = _credits_of(kind, title_id)
    seasons = select(Season.id).where(Season.show_id == title_id)
    people = session.scalars(select(Credit.person_id).where(credits_of_it).distinct())
    report = RemoveReport(
        kind=kind,
        tmdb_id=tmdb_id,
        title=found.title,
        year=found.year,
        person_ids=tuple(sorted(people)),
        seasons=count(session, Season, Season.show_id == title_id) if kind == "tv" else 0,
        episodes=count(session, Episode, Episode.season_id.in_(seasons)) if kind == "tv" else 0,
        credits=count(session, Credit, credits_of_it),
        files=_let_go_of_files(session, kind, tmdb_id),
    )
    session.execute(delete(model).where(model.id == title_id))
    return report


def _credits_of(kind: TitleKind, title_id: int) -> ColumnElement[bool]:
    if kind == "movie":
        return Credit.movie_id == title_id
    episodes = (
        select(Episode.id)
        .join(Season, Season.id == Episode.season_id)
        .where(Season.show_id == title_id)
    )
    return (Credit.show_id == title_id) | Credit.episode_id.in_(episodes)


def _belongs_to(kind: TitleKind, tmdb_id: int) -> ColumnElement[bool]:
    """Return the condition that a file belongs to a title."""
    model = title_model(kind)
    return title_column(model).in_(select(model.id).where(model.tmdb_id == tmdb_id))


def _let_go_of_files(session: Session, kind: TitleKind, tmdb_id: int) -> int:
    """Let the files of a title belong to nothing, with that as the reason; return how many."""
    released = session.execute(
        update(MediaFile)
        .where(_belongs_to(kind, tmdb_id), MediaFile.state != "extra")
        .values(**file_state.dismissed(named(kind, tmdb_id)))
        .returning(MediaFile.id)
    )
    return len(released.all())


def release_files(session: Session, kind: TitleKind, tmdb_id: int) -> int:
    """Let the files of a title that had been removed wait for the next scan; return how many."""
    removed = file_state.is_dismissed(named(kind, tmdb_id))
    hold(session, select(MediaFile.library_id).where(removed))
    folders = select(MediaFile.folder_id).where(removed)
    session.execute(update(Folder).where(Folder.id.in_(folders)).values(recheck=True))
    waiting = session.execute(
        update(MediaFile).where(removed).values(**file_state.waits_again()).returning(MediaFile.id)
    )
    return len(waiting.all())
