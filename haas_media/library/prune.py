"""Taking off the record what no scan takes off, and only when somebody says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select

from haas_media.catalog.file_state import is_dismissed
from haas_media.catalog.library_rows import count
from haas_media.catalog.locks import scanning
from haas_media.catalog.models import Folder, Library, MediaFile, Movie, Show, title_column
from haas_media.markdown import Report, markdown_list
from haas_media.mounts import is_mounted
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.settings import Library as LibrarySettings


class PruneError(Exception):
    """What is to be given up is not out of reach. The text is a sentence."""


@dataclass(frozen=True, slots=True)
class PruneReport(Report):
    """What is on record that no scan removes; it is gone unless ``dry_run``.

    ``libraries`` left the settings, ``titles`` have no file and were made by a scan, ``files`` are
    those of titles removed on request that are not there. ``out_of_reach`` is what may be gone for
    good, an emptied library or a disk that is away: it goes only when it is named.
    """

    heading = "Pruning"

    dry_run: bool
    libraries: dict[str, int] = field(default_factory=dict)
    titles: tuple[str, ...] = ()
    files: int = 0
    out_of_reach: dict[str, int] = field(default_factory=dict)
    given_up: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return all counts, flat."""
        return {
            "libraries": len(self.libraries),
            "titles": len(self.titles),
            "files": self.files + sum([*self.libraries.values(), *self.given_up.values()]),
            "out_of_reach": sum(self.out_of_reach.values()),
        }

    def summary(self) -> str:
        """Say in a sentence what was done, or would be."""
        counts = self.counts()
        what = (
            f"{counted(counts['libraries'], 'library', 'libraries')}, "
            f"{counted(counts['titles'], 'title')} and {counted(counts['files'], 'file record')}"
        )
        return f"Would remove {what}." if self.dry_run else f"Removed {what}."

    def after_table(self) -> list[str]:
        """List what it is about."""
        away = "Out of reach, kept unless named as gone for good"
        return [
            *markdown_list("Libraries that left the settings", _with_files(self.libraries)),
            *markdown_list("Titles without a file", self.titles),
            *markdown_list("Given up", _with_files(self.given_up)),
            *markdown_list(away, _with_files(self.out_of_reach)),
        ]


def _with_files(found: dict[str, int]) -> list[str]:
    return [f"{name}: {counted(files, 'file')} on record" for name, files in found.items()]


def prune(
    catalog: Catalog,
    libraries: Sequence[LibrarySettings],
    *,
    dry_run: bool = True,
    gone_for_good: Collection[str] = (),
    on_wait: Callable[[str], None] = lambda _: None,
) -> PruneReport:
    """Report what is on record that no scan removes; remove it when asked to.

    Nothing on disk is touched. Removing waits for scans of the libraries; reporting needs no right
    to write the catalog.

    Args:
        gone_for_good: titles of offline libraries, and places where disks were mounted, whose
            files do not come back.
        on_wait: called with what is waited for.

    Raises:
        PruneError: one of these is not out of reach.
    """
    with catalog.reading() as session:
        if dry_run:
            return _prune(session, libraries, dry_run, gone_for_good)
        titles = {row.id: row.title for row in session.scalars(select(Library))}
    with scanning(catalog, titles, "the pruning of the catalog", on_wait):
        return catalog.write(lambda session: _prune(session, libraries, dry_run, gone_for_good))


def _prune(
    session: Session,
    libraries: Sequence[LibrarySettings],
    dry_run: bool,
    gone_for_good: Collection[str],
) -> PruneReport:
    kept = {library.title for library in libraries} | {str(library.path) for library in libraries}
    rows = session.scalars(select(Library).order_by(Library.title)).all()
    left = [row for row in rows if row.title not in kept and row.path not in kept]
    away = _out_of_reach(session, [row for row in rows if row not in left])
    if unknown := set(gone_for_good) - away.keys():
        raise PruneError(
            f"{', '.join(map(repr, sorted(unknown)))} is not out of reach. "
            f"What is: {', '.join(map(repr, away)) or 'nothing'}."
        )
    dismissed: ColumnElement[bool] = MediaFile.missing_since.is_not(None) & is_dismissed()
    going: ColumnElement[bool] = dismissed | MediaFile.library_id.in_([row.id for row in left])
    for name in gone_for_good:
        going |= away[name]
    titles = [found for model in (Movie, Show) for found in _titles(session, model, going)]
    report = PruneReport(
        dry_run=dry_run,
        libraries={
            f"{row.title} ({row.path})": count(session, MediaFile, MediaFile.library_id == row.id)
            for row in left
        },
        titles=tuple(sorted(name for _, _, name in titles)),
        files=count(
            session, MediaFile, dismissed & MediaFile.library_id.not_in([row.id for row in left])
        ),
        out_of_reach={
            name: count(session, MediaFile, files)
            for name, files in away.items()
            if name not in gone_for_good
        },
        given_up={name: count(session, MediaFile, away[name]) for name in gone_for_good},
    )
    if not dry_run:
        session.execute(delete(MediaFile).where(going).execution_options(synchronize_session=False))
        has_file = exists().where(MediaFile.folder_id == Folder.id)
        places: ColumnElement[bool] = Folder.library_id.in_([row.id for row in left])
        if gone_for_good:
            places |= ~has_file
        session.execute(delete(Folder).where(places))
        session.execute(delete(Library).where(Library.id.in_([row.id for row in left])))
        for model, title_id, _ in titles:
            # Unless it was added meanwhile.
            session.execute(delete(model).where(model.id == title_id, ~model.requested))
    return report


def _out_of_reach(session: Session, rows: Iterable[Library]) -> dict[str, ColumnElement[bool]]:
    """Return what may be gone for good, by name, with the condition on its files."""
    found: dict[str, ColumnElement[bool]] = {}
    for row in rows:
        if not row.online:
            found[row.title] = MediaFile.library_id == row.id
    mounts = select(Folder.mount).where(Folder.mount.is_not(None), Folder.mount != "").distinct()
    for mount in session.scalars(mounts.order_by(Folder.mount)):
        if mount and not is_mounted(mount):
            on_it = select(Folder.id).where(Folder.mount == mount)
            # A file of a removed title that was not there has no folder.
            found[mount] = MediaFile.folder_id.is_not(None) & MediaFile.folder_id.in_(on_it)
    return found


def _titles(
    session: Session, model: type[Movie | Show], going: ColumnElement[bool]
) -> list[tuple[type[Movie | Show], int, str]]:
    """Return titles that nobody has added, and that have no file that stays."""
    stays = exists().where(title_column(model) == model.id, ~going)
    query = select(model.id, model.title, model.year).where(~model.requested, ~stays)
    return [
        (model, row.id, f"{row.title} ({row.year})" if row.year else row.title)
        for row in session.execute(query)
    ]
