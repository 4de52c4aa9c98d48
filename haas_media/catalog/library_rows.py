"""The rows of a library, its folders and files: what a scan reads of them, marks and deletes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Text, case, cast, delete, exists, func, select, type_coerce, update

from haas_media.catalog.dialects import chunked, from_stored_path, table_of
from haas_media.catalog.file_state import REMOVED, is_dismissed, waits_again
from haas_media.catalog.models import Folder, Library, MediaFile
from haas_media.identification.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from haas_media.catalog.models import Base
    from haas_media.settings import Library as LibrarySettings


@dataclass(frozen=True, slots=True)
class Registered:
    """A library's row before a scan.

    ``last_scanned``: when a scan of all of it has ended. ``other_kind``: what is on record is of
    another kind.
    """

    id: int
    path: str
    mount: str | None
    last_scanned: dt.datetime | None
    other_kind: bool


class KnownFolder(NamedTuple):
    """What the catalog has of a folder; ``path`` as it is stored. See ``catalog.models.Folder``."""

    path: str
    id: int
    signature: str
    nfo_signature: str | None
    recheck: bool
    mount: str | None
    files: int


class KnownFile(NamedTuple):
    """What the catalog has of a file; ``sidecars`` as the text that is kept."""

    id: int
    library_id: int
    path: str
    size: int
    mtime_ns: int
    inode: str | None
    state: str
    reason_code: str | None
    recheck: bool
    nfo_signature: str | None
    sidecars: str
    folder_id: int | None
    movie_id: int | None
    show_id: int | None
    missing: bool

    @property
    def belongs(self) -> bool:
        """Whether it belongs to a title."""
        return self.movie_id is not None or self.show_id is not None

    @property
    def dismissed(self) -> bool:
        """Whether somebody removed its title on request: a scan does not bring it back."""
        return self.state == "unmatched" and self.reason_code == REMOVED


def register(
    session: Session, libraries: Sequence[LibrarySettings], all_set: Sequence[LibrarySettings]
) -> list[Registered]:
    """Put libraries on record; what they hold stays as the last scan left it.

    A library is known again by its path, else by its title: so its records stay with it when one of
    the two has changed, or when two libraries swap their titles.

    Args:
        libraries: those to be scanned.
        all_set: all in the settings.
    """
    rows = list(session.scalars(select(Library).order_by(Library.id).with_for_update()))
    by_path = {row.path: row for row in rows}
    set_paths = {str(library.path) for library in all_set}
    by_title = {row.title: row for row in rows if row.path not in set_paths}
    of_title = {
        library.title: by_path.get(str(library.path)) or by_title.get(library.title)
        for library in all_set
    }
    _rename(session, rows, {title: row for title, row in of_title.items() if row})
    found = []
    for library in libraries:
        row = of_title.get(library.title)
        if row is None:
            row = Library(title=library.title, kind=library.kind, path=str(library.path))
            session.add(row)
            session.flush()
        other_kind = row.kind != library.kind
        found.append(Registered(row.id, row.path, row.mount, row.last_scanned, other_kind))
    return found


def _rename(session: Session, rows: Sequence[Library], of_title: Mapping[str, Library]) -> None:
    """Give rows their titles; one that left the settings makes way for another of its title."""
    renamed = {row.id: title for title, row in of_title.items() if row.title != title}
    stay = {row.id for row in of_title.values()}
    for row in rows:
        if row.id not in stay and row.title in of_title:
            renamed[row.id] = f"{row.title} ({row.path})"
    for row in rows:
        if row.id in renamed:
            row.title = f"\N{REPLACEMENT CHARACTER}{row.id}"
    session.flush()
    for row in rows:
        row.title = renamed.get(row.id, row.title)
    session.flush()


def hold(session: Session, library_ids: Iterable[int] | Select[int]) -> None:
    """Take the rows of libraries until the transaction ends.

    Whoever changes files and titles, a scan or a removal, does so first, in one order, so that no
    two wait in a circle.
    """
    chosen = select(Library.id).where(Library.id.in_(library_ids))
    session.execute(chosen.order_by(Library.id).with_for_update())


def known_folders(session: Session, library_id: int) -> dict[str, KnownFolder]:
    """Load what the catalog has of a library's folders, with the number of files in each."""
    folders, files = table_of(Folder).c, table_of(MediaFile).c
    count = select(func.count()).where(files.folder_id == folders.id).scalar_subquery()
    # Plain columns and text: what turns rows into objects costs more here than all the rest.
    names = KnownFolder._fields[1:-1]
    rows = session.connection().execute(
        select(type_coerce(folders.path, Text), *(folders[name] for name in names), count).where(
            folders.library_id == library_id
        )
    )
    return {from_stored_path(row[0]): KnownFolder._make(row) for row in rows.all()}


def load_files(session: Session, condition: Any) -> Iterator[KnownFile]:
    """Load what the catalog has of the files that a condition holds for."""
    files = table_of(MediaFile).c
    columns: list[Any] = [getattr(files, name, None) for name in KnownFile._fields]
    # As text, and hardly anything done to a row: there may be 100,000 in one folder.
    columns[KnownFile._fields.index("path")] = type_coerce(files.path, Text)
    columns[KnownFile._fields.index("sidecars")] = cast(files.sidecars, Text)
    columns[KnownFile._fields.index("missing")] = files.missing_since.is_not(None)
    rows = session.connection().execute(select(*columns).where(condition))
    for file in map(KnownFile._make, rows.all()):
        yield file if file.path.isascii() else file._replace(path=from_stored_path(file.path))


def load_identities(session: Session, file_ids: Iterable[int]) -> dict[int, Identity]:
    """Load what files were taken for so far."""
    ids = sorted(file_ids)
    found = {}
    for chunk in chunked(ids):
        chosen = MediaFile.id.in_(chunk)
        for row_id, kept in session.execute(select(MediaFile.id, MediaFile.identity).where(chosen)):
            found[row_id] = Identity.of_kept(kept)
    return found


def identify_again(session: Session, library_id: int) -> None:
    """Have every file of a library identified again, as nothing that it was taken for is right."""
    for model, values in ((Folder, {"recheck": True}), (MediaFile, waits_again())):
        session.execute(update(model).where(model.library_id == library_id).values(**values))


def count(session: Session, model: type[Base], condition: ColumnElement[bool]) -> int:
    """Count the rows of a table that a condition holds for."""
    return session.scalar(select(func.count()).select_from(model).where(condition)) or 0


def count_present(session: Session, library_id: int) -> int:
    """Count the files of a library that were there at its last scan."""
    # Two counts that indices answer, in place of a look at every row.
    files = MediaFile.library_id == library_id
    missing = count(session, MediaFile, files & MediaFile.missing_since.is_not(None))
    return count(session, MediaFile, files) - missing


def mark(
    session: Session, library_id: int, library: LibrarySettings, offline: str | None, mount: str
) -> None:
    """Say how a scan has found a library."""
    values: dict[str, object] = {"online": offline is None, "offline_reason": offline}
    if offline is None:
        values |= {
            "kind": library.kind,
            "path": str(library.path),
            "mount": mount,
            "last_scanned": dt.datetime.now(dt.UTC),
        }
    session.execute(update(Library).where(Library.id == library_id).values(**values))


def mark_missing(session: Session, file_ids: Sequence[int]) -> None:
    """Keep files on record that were not there; the next scan decides what became of them.

    It looks into their folders for that, which tell their disk; those of removed titles are kept
    for good, in no folder.
    """
    were_there = MediaFile.id.in_(file_ids) & MediaFile.missing_since.is_(None)
    folders = select(MediaFile.folder_id).where(were_there)
    session.execute(update(Folder).where(Folder.id.in_(folders)).values(recheck=True))
    of_folder = case((is_dismissed(), None), else_=MediaFile.folder_id)
    missing = {"missing_since": dt.datetime.now(dt.UTC), "folder_id": of_folder}
    session.execute(update(MediaFile).where(were_there).values(**missing))


def missing_since(session: Session, library_id: int, moment: dt.datetime) -> set[int]:
    """Return the ids of files that a scan which ended after this moment did not find."""
    # One that seems to end in the future had a clock that was ahead.
    since = MediaFile.missing_since.between(moment, dt.datetime.now(dt.UTC))
    missing = select(MediaFile.id).where(MediaFile.library_id == library_id, since)
    return set(session.scalars(missing))


def count_added(session: Session, library_id: int, since: dt.datetime | None) -> int:
    """Count the files of a library that were put on record after this moment, or ever."""
    added = MediaFile.library_id == library_id
    if since is not None:
        added &= MediaFile.added_at > since
    return count(session, MediaFile, added)


def delete_files(session: Session, library_id: int, file_ids: Sequence[int]) -> None:
    """Take files off the record that are gone, unless another library's scan has found them."""
    gone = (MediaFile.library_id == library_id) & MediaFile.id.in_(file_ids)
    session.execute(delete(MediaFile).where(gone))


def delete_folders(session: Session, folder_ids: Sequence[int]) -> None:
    """Take folders off the record that hold no file."""
    session.execute(
        delete(Folder).where(
            Folder.id.in_(folder_ids), ~exists().where(MediaFile.folder_id == Folder.id)
        )
    )


def count_states(session: Session, library_id: int) -> Counter[str]:
    """Count a library's files by their state, but for those that are missing and unwanted."""
    files = select(MediaFile.state, func.count()).where(MediaFile.library_id == library_id)
    counts = Counter({row[0]: row[1] for row in session.execute(files.group_by(MediaFile.state))})
    unwanted = files.where(MediaFile.missing_since.is_not(None), is_dismissed())
    return counts - Counter(
        {row[0]: row[1] for row in session.execute(unwanted.group_by(MediaFile.state))}
    )


def list_unmatched(session: Session, library_id: int) -> list[tuple[str, str]]:
    """List the files that could not be matched, with reasons as sentences, by their paths."""
    rows = session.execute(
        select(MediaFile.path, MediaFile.unmatched_reason).where(
            MediaFile.library_id == library_id,
            MediaFile.state == "unmatched",
            ~(MediaFile.missing_since.is_not(None) & is_dismissed()),
        )
    )
    return sorted((path, str(reason or "")) for path, reason in rows)
