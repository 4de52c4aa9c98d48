"""What happens to the file records of a title that is removed, and added again.

Whoever writes files takes the row of their library first, as a scan does, so that no two writers
wait for each other in a circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from haas_media.catalog.models import Folder, Library, MediaFile
from haas_media.library.titles import named

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.library.titles import TitleKind


def removal_reason(kind: TitleKind, tmdb_id: int) -> str:
    """Return why the files of a title that was removed on request belong to nothing.

    They are recognised by this text when the title is added again.
    """
    return (
        f"Removed from the library on request ({named(kind, tmdb_id)}); "
        "add it to the library again, or change the file, to bring it back"
    )


def hold_libraries(session: Session, of_files: ColumnElement[bool]) -> None:
    """Take the rows of the libraries that these files are in, until the transaction ends."""
    libraries = select(MediaFile.library_id).where(of_files)
    session.execute(
        select(Library.id).where(Library.id.in_(libraries)).order_by(Library.id).with_for_update()
    )


def belongs_to(kind: TitleKind, tmdb_id: int) -> ColumnElement[bool]:
    """Return the condition that a file belongs to a title."""
    title = MediaFile.movie if kind == "movie" else MediaFile.show
    return title.has(tmdb_id=tmdb_id)


def let_go_of_files(session: Session, kind: TitleKind, tmdb_id: int) -> int:
    """Let the files of a title belong to nothing, with that as the reason; return how many."""
    column = MediaFile.movie_id if kind == "movie" else MediaFile.show_id
    reason = removal_reason(kind, tmdb_id)
    released = session.execute(
        update(MediaFile)
        .where(belongs_to(kind, tmdb_id), MediaFile.state != "extra")
        .values({"state": "unmatched", "unmatched_reason": reason, column.key: None})
        .returning(MediaFile.id)
    )
    return len(released.all())


def release_files(catalog: Catalog, kind: TitleKind, tmdb_id: int) -> int:
    """Let the files of a title that had been removed wait for the next scan; return how many."""
    removed = (MediaFile.state == "unmatched") & (
        MediaFile.unmatched_reason == removal_reason(kind, tmdb_id)
    )

    def work(session: Session) -> int:
        hold_libraries(session, removed)
        # Folders without a signature are looked at file by file, with their NFO files.
        folders = select(MediaFile.folder_id).where(removed)
        session.execute(
            update(Folder).where(Folder.id.in_(folders)).values(signature="", nfo_signature="?")
        )
        waiting = session.execute(
            update(MediaFile)
            .where(removed)
            .values(state="pending", unmatched_reason=None, identity=None)
            .returning(MediaFile.id)
        )
        return len(waiting.all())

    return catalog.write(work)
