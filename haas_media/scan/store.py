"""Writing a batch of scanned files: titles, files and folders in one transaction."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, select

from haas_media.catalog import file_state
from haas_media.catalog.dialects import insert_many, next_ids, table_of, update_many, upsert
from haas_media.catalog.library_rows import hold
from haas_media.catalog.models import (
    Episode,
    Folder,
    MediaFile,
    Season,
    match_key,
    title_column,
    title_model,
)
from haas_media.catalog.store_titles import link_episodes
from haas_media.catalog.title_rows import TitleRow, Titles
from haas_media.identification.identity import Identity
from haas_media.identification.kinds import can_be_probed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.models import TitleModel
    from haas_media.catalog.store_titles import EpisodeKey
    from haas_media.identification.nfo import Nfo
    from haas_media.scan.compare import FileChange
    from haas_media.scan.walk import Listing
    from haas_media.settings import Kind


@dataclass(slots=True)
class Batch:
    """Files for one transaction, with their folders.

    ``done`` are the paths of those folders that have nothing left after this batch: only then may
    a scan take them for unchanged.
    """

    folders: list[Listing] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    files: list[FileChange] = field(default_factory=list)


def write_batch(
    session: Session, library_id: int, kind: Kind, batch: Batch, *, ask_provider: bool
) -> None:
    """Write a batch in the caller's transaction.

    Args:
        ask_provider: whether titles that no provider knows yet are to wait for one.
    """
    hold(session, [library_id])
    model = title_model(kind)
    titles = Titles(session, model)
    if ask_provider:
        _undo_borrowed_titles(session, titles, model, batch.files)
    named = {
        change.path: change.found
        for change in batch.files
        if change.found and not change.found.reason and not change.found.extra
    }
    rows = titles.ensure(named)
    extras = {c.path: c.found for c in batch.files if c.found and c.found.extra}
    of_extras = titles.find(extras)
    folder_ids = _write_folders(session, library_id, batch)
    before = _titles_before(session, model, batch.files)
    values = [
        _values(
            library_id,
            folder_ids,
            change,
            kind,
            rows.get(change.path) or of_extras.get(change.path),
            ask_provider,
        )
        for change in batch.files
    ]
    file_ids = _write_files(session, batch.files, values)
    if kind == "tv":
        _link_episodes(session, batch.files, file_ids, rows)
    drop_bare_titles(session, model, before)


def _undo_borrowed_titles(
    session: Session, titles: Titles, model: TitleModel, files: Sequence[FileChange]
) -> None:
    """Have files identified anew that are refreshed and whose name does not lead to their title.

    They have it from another file of their name whose id, from a tag or an NFO file, was believed
    for both. While there is such a file it is right, unless an id of their own leads elsewhere.
    """
    says = {change.path: change.says for change in files if change.says}
    led = titles.find(says)
    strayed: defaultdict[tuple[int | None, str], list[FileChange]] = defaultdict(list)
    for change in files:
        if change.says and change.known:
            title_id = change.known.movie_id or change.known.show_id
            row, ids = led.get(change.path), change.says.ids
            if row and row.id == title_id:
                continue
            # An id of TMDb's that leads nowhere may be one that is gone.
            if ids and (row or "tmdb" not in ids):
                change.found = change.says
            else:
                strayed[title_id, match_key(change.says.title or "", change.says.year)] += [change]
    column = title_column(model)
    theirs = select(column, MediaFile.identity).where(
        column.in_({key[0] for key in strayed}),
        MediaFile.id.not_in([change.known.id for change in files if change.known and change.found]),
    )
    for title_id, kept in session.execute(theirs) if strayed else ():
        what = Identity.of_kept(kept)
        if what.ids:
            strayed.pop((title_id, match_key(what.title or "", what.year)), None)
    for changes in strayed.values():
        for change in changes:
            change.found = change.says


def _write_folders(session: Session, library_id: int, batch: Batch) -> dict[str, int]:
    rows = [
        {
            "library_id": library_id,
            "path": folder.path,
            "signature": folder.signature,
            "nfo_signature": folder.nfo_signature,
            "recheck": folder.recheck or folder.path not in batch.done,
            "mount": folder.mount,
        }
        for folder in batch.folders
    ]
    ids = upsert(session, table_of(Folder), rows, ["library_id", "path"])
    return {path: folder_id for (_, path), folder_id in ids.items()}


def _titles_before(session: Session, model: TitleModel, files: Iterable[FileChange]) -> set[int]:
    """Return the titles that files had which are now identified anew."""
    again = [change.known.id for change in files if change.known and change.found]
    column = title_column(model)
    found = session.scalars(select(column).where(MediaFile.id.in_(again), column.is_not(None)))
    return {title_id for title_id in found if title_id}


def _values(
    library_id: int,
    folder_ids: dict[str, int],
    change: FileChange,
    kind: Kind,
    title: TitleRow | None,
    ask_provider: bool,
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "library_id": library_id,
        "folder_id": folder_ids[change.folder],
        "path": change.path,
        "size": change.entry.size,
        "mtime_ns": change.entry.mtime_ns,
        "inode": str(change.entry.inode),
        "sidecars": change.sidecars,
        "nfo_signature": change.nfo_signature,
        "missing_since": None,
    }
    if change.why in ("new", "changed"):
        values |= {
            "streams": None,
            "container": None,
            "duration": None,
            # What is no media file is done with.
            "probed_at": None if can_be_probed(change.entry.name) else dt.datetime.now(dt.UTC),
            "probe_error": None,
        }
    if change.found:
        waits = title is not None and _waits(change.found, kind, title, ask_provider)
        title_id = title.id if title else None
        values |= file_state.identified(change.found, kind, title_id, waits=waits)
    elif change.copy:
        values |= file_state.other_copy(change.copy)
    return values | {"recheck": change.recheck}


def _waits(found: Identity, kind: Kind, title: TitleRow, ask_provider: bool) -> bool:
    """Tell whether the provider is still to say something of a file whose title is known."""
    if ask_provider:
        return kind == "tv" or not title.settled
    # The episodes of a show that it has told are counted by it alone.
    return title.settled and title.tmdb_id is not None and bool(found.absolute or found.date)


def _write_files(
    session: Session, changes: list[FileChange], values: list[dict[str, Any]]
) -> dict[str, int]:
    """Insert new files and update known ones; return the ids by path."""
    table = table_of(MediaFile)
    ids: dict[str, int] = {}
    new, known = [], []
    for change, row in zip(changes, values, strict=True):
        if change.known is None:
            new.append(row | {"added_at": dt.datetime.now(dt.UTC)})
        else:
            ids[change.path] = change.known.id
            known.append({"id": change.known.id, **row})
    update_many(session, table, known)
    for row, row_id in zip(new, next_ids(session, table, len(new)), strict=True):
        ids[row["path"]] = row["id"] = row_id
    insert_many(session, table, new)
    return ids


def _link_episodes(
    session: Session,
    changes: Collection[FileChange],
    file_ids: dict[str, int],
    rows: dict[str, TitleRow],
) -> None:
    """Say which episodes the files hold, and add what NFO files tell of these."""
    wanted: dict[int, list[EpisodeKey]] = {}
    details: list[tuple[EpisodeKey, Nfo]] = []
    for change in changes:
        if change.found is None:
            continue
        title = rows.get(change.path)
        keys = [(title.id, *each) for each in numbers(change.found)] if title else []
        wanted[file_ids[change.path]] = keys
        details += [
            (key, nfo)
            for nfo in change.found.episode_details
            for key in keys
            if (nfo.season, nfo.episode) == key[1:] or len(keys) == 1
        ]
    fresh = {file_ids[change.path] for change in changes if change.known is None}
    episodes = link_episodes(session, wanted, fresh=fresh)
    details_of = {
        episodes[key]: {
            "title": nfo.title,
            "overview": nfo.overview,
            "air_date": nfo.date,
            "runtime": nfo.runtime,
        }
        for key, nfo in details
    }
    # A provider that has told already has the last word.
    bare = (
        select(Episode.id)
        .join(Season, Season.id == Episode.season_id)
        .where(Episode.id.in_(details_of), Season.details_fetched_at.is_(None))
    )
    if details_of:
        new = [{"id": episode_id, **details_of[episode_id]} for episode_id in session.scalars(bare)]
        update_many(session, table_of(Episode), new)


def numbers(found: Identity) -> list[tuple[int, int]]:
    """Return season and number of each episode that can be told without a provider.

    Absolute numbers count from the first episode, so they are taken for those of season 1; a date
    tells no number.
    """
    if found.date:
        return []
    season = 1 if found.season is None else found.season
    return [(season, number) for number in found.episodes or found.absolute]


def join_extras_to_titles(session: Session, library_id: int, kind: Kind) -> None:
    """Give a library's extras the titles that they are of, now that all of these are known."""
    column = title_column(title_model(kind))
    alone = (MediaFile.state == "extra") & column.is_(None) & MediaFile.identity.is_not(None)
    rows = session.execute(
        select(MediaFile.id, MediaFile.identity).where(MediaFile.library_id == library_id, alone)
    )
    extras = {file_id: Identity.of_kept(identity) for file_id, identity in rows}
    titles = Titles(session, title_model(kind)).find(extras)
    joined = [{"id": file_id, **file_state.joined(t.id, kind)} for file_id, t in titles.items()]
    update_many(session, table_of(MediaFile), joined)


def drop_bare_titles(session: Session, model: TitleModel, ids: Collection[int]) -> None:
    """Drop those of the titles that no provider has told of and that have but extras, if any."""
    has_file = exists().where(title_column(model) == model.id, MediaFile.state != "extra")
    if ids:
        session.execute(
            delete(model).where(model.id.in_(ids), model.details_fetched_at.is_(None), ~has_file)
        )
