"""What a scan writes of a library itself, and what it takes off the record."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, select, update

from haas_media.catalog.models import Folder, Library, MediaFile
from haas_media.catalog.upserts import insert, table_of
from haas_media.scan.report import FileReason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.orm import Session

    from haas_media.settings import Library as LibrarySettings


@dataclass(frozen=True, slots=True)
class Registered:
    """A library's row. ``other_kind``: what is on record is of the kind that it held before."""

    id: int
    other_kind: bool = False


def register(
    session: Session, library: LibrarySettings, titles: Collection[str] = ()
) -> Registered:
    """Put a library on record; what it holds stays as the last scan left it.

    A library whose title alone has changed keeps its records.

    Args:
        session: an open session; the caller commits.
        library: the library as the settings have it.
        titles: those of all libraries in the settings.
    """
    known = session.execute(
        select(Library).where(
            (Library.title == library.title) | (Library.path == str(library.path))
        )
    ).scalars()
    rows = {row.title: row for row in known}
    row = rows.get(library.title) or next(
        (row for title, row in sorted(rows.items()) if title not in titles), None
    )
    if row is not None:
        row.title = library.title
        return Registered(row.id, other_kind=row.kind != library.kind)
    statement = insert(session, table_of(Library)).values(
        title=library.title, kind=library.kind, path=str(library.path), online=True
    )
    upsert = statement.on_conflict_do_update(
        index_elements=["title"], set_={"title": statement.excluded["title"]}
    )
    return Registered(session.execute(upsert.returning(Library.id)).scalar_one())


def forget_identifications(session: Session, library_id: int) -> None:
    """Have every file of a library identified again."""
    session.execute(
        update(Folder)
        .where(Folder.library_id == library_id)
        .values(signature="", nfo_signature="?")
    )
    session.execute(
        update(MediaFile)
        .where(MediaFile.library_id == library_id)
        .values(movie_id=None, show_id=None, identity=None, state="pending")
    )


def mark(session: Session, library_id: int, library: LibrarySettings, offline: str | None) -> None:
    """Say how a scan has found a library."""
    values: dict[str, object] = {"online": offline is None, "offline_reason": offline}
    if offline is None:
        values |= {
            "kind": library.kind,
            "path": str(library.path),
            "last_scanned": dt.datetime.now(dt.UTC),
        }
    session.execute(update(Library).where(Library.id == library_id).values(**values))


def delete_files(session: Session, files: Sequence[tuple[int, str]]) -> None:
    """Take files off the record that are gone from these paths.

    A file that another scan has found elsewhere meanwhile stays.
    """
    for file_id, path in files:
        session.execute(
            delete(MediaFile).where(MediaFile.id == file_id, MediaFile.path == path),
            execution_options={"synchronize_session": False},
        )


def delete_folders(session: Session, folder_ids: Sequence[int]) -> None:
    """Take folders off the record that hold no file."""
    session.execute(
        delete(Folder).where(
            Folder.id.in_(folder_ids), ~exists().where(MediaFile.folder_id == Folder.id)
        )
    )


def count_states(session: Session, library_id: int) -> Counter[str]:
    """Count a library's files by their state."""
    rows = session.execute(
        select(MediaFile.state, func.count())
        .where(MediaFile.library_id == library_id)
        .group_by(MediaFile.state)
    )
    return Counter({row[0]: row[1] for row in rows})


def list_unmatched(session: Session, library_id: int) -> tuple[FileReason, ...]:
    """List the files that could not be matched, with reasons."""
    rows = session.execute(
        select(MediaFile.path, MediaFile.unmatched_reason)
        .where(MediaFile.library_id == library_id, MediaFile.state == "unmatched")
        .order_by(MediaFile.path)
    )
    return tuple(FileReason(shown(path), reason or "") for path, reason in rows)


def shown(path: str) -> str:
    """Return a path as text that can be shown, even if it is not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
