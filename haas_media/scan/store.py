"""Writing a batch of scanned files: titles, files and folders in one transaction."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, select, update

from haas_media.catalog.models import (
    Episode,
    Folder,
    Library,
    MediaFile,
    Movie,
    Season,
    Show,
    media_file_episodes,
)
from haas_media.catalog.upserts import insert, table_of, update_many
from haas_media.scan.titles import TitleRow, Titles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

    from haas_media.scan.diff import KnownFile
    from haas_media.scan.identification import Identification
    from haas_media.scan.walk import Entry, Listing
    from haas_media.settings import Kind


@dataclass(slots=True)
class FileWork:
    """A file to be written.

    ``file_id`` is that of its row, none for a new file. ``found`` is what it is taken for; none
    leaves that as it is. ``fresh`` says that its content is new and has to be probed,
    ``moved`` that the row's path is another one so far; ``before`` is what was on record.
    """

    path: str
    folder: str
    entry: Entry
    file_id: int | None = None
    found: Identification | None = None
    fresh: bool = True
    moved: bool = False
    sidecars: list[dict[str, Any]] = field(default_factory=list)
    before: KnownFile | None = None


@dataclass(slots=True)
class Batch:
    """Files for one transaction, with their folders.

    ``done`` are the paths of those folders that have nothing left after this batch: only then may
    a scan take them for unchanged.
    """

    folders: list[Listing] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    files: list[FileWork] = field(default_factory=list)


def write_batch(
    session: Session, library_id: int, kind: Kind, batch: Batch, *, ask_provider: bool
) -> None:
    """Write a batch in the caller's transaction.

    Args:
        session: an open session; the caller commits.
        library_id: the library; its row is held, so that two scans of it take turns.
        kind: what the library holds.
        batch: what to write.
        ask_provider: whether titles that no provider knows yet are to wait for one.
    """
    session.execute(select(Library.id).where(Library.id == library_id).with_for_update())
    _settle_with_others(session, library_id, batch)
    titles = Titles(session, Movie if kind == "movies" else Show)
    named = {
        work.path: work.found
        for work in batch.files
        if work.found and not work.found.reason and not work.found.extra
    }
    rows = titles.ensure(named)
    folder_ids = _write_folders(session, library_id, batch)
    before = _titles_before(session, kind, batch.files)
    values = [
        _values(library_id, folder_ids, work, kind, _title_of(work, rows, titles), ask_provider)
        for work in batch.files
    ]
    file_ids = _write_files(session, batch.files, values)
    if kind == "tv":
        _link_episodes(session, batch.files, file_ids, rows)
    drop_bare_titles(session, kind, before)


def _title_of(work: FileWork, rows: dict[str, TitleRow], titles: Titles) -> TitleRow | None:
    if work.path in rows:
        return rows[work.path]
    return titles.find(work.found) if work.found and work.found.extra else None


def _write_folders(session: Session, library_id: int, batch: Batch) -> dict[str, int]:
    rows = [
        {
            "library_id": library_id,
            "path": folder.path,
            "signature": folder.signature if folder.path in batch.done else "",
            "nfo_signature": folder.nfo_signature,
            "mounted": folder.mounted,
        }
        for folder in batch.folders
    ]
    if not rows:
        return {}
    table = table_of(Folder)
    statement = insert(session, table)
    upsert = statement.on_conflict_do_update(
        index_elements=["library_id", "path"],
        set_={name: statement.excluded[name] for name in ("signature", "nfo_signature", "mounted")},
    ).returning(table.c.path, table.c.id)
    return {row[0]: row[1] for row in session.execute(upsert, rows)}


def _titles_before(session: Session, kind: Kind, files: Iterable[FileWork]) -> set[int]:
    """Return the titles that files had which are now identified anew."""
    again = [work.file_id for work in files if work.file_id and work.found]
    if not again:
        return set()
    column = MediaFile.movie_id if kind == "movies" else MediaFile.show_id
    found = session.scalars(select(column).where(MediaFile.id.in_(again), column.is_not(None)))
    return {title_id for title_id in found if title_id}


def _values(
    library_id: int,
    folder_ids: dict[str, int],
    work: FileWork,
    kind: Kind,
    title: TitleRow | None,
    ask_provider: bool,
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "library_id": library_id,
        "folder_id": folder_ids[work.folder],
        "path": work.path,
        "size": work.entry.size,
        "mtime_ns": work.entry.mtime_ns,
        "inode": str(work.entry.inode),
        "sidecars": work.sidecars,
    }
    if work.fresh:
        values |= {
            "streams": None,
            "container": None,
            "duration": None,
            "probed_at": None,
            "probe_error": None,
        }
    if work.found:
        values |= _identified(work.found, kind, title, ask_provider)
    return values


def _identified(
    found: Identification, kind: Kind, title: TitleRow | None, ask_provider: bool
) -> dict[str, Any]:
    waits = ask_provider and title is not None and (kind == "tv" or not title.settled)
    state = "matched" if not waits else "pending"
    if found.reason:
        state = "unmatched"
    if found.extra:
        state = "extra"
    return {
        "state": state,
        "unmatched_reason": found.reason,
        "extra_kind": found.extra,
        "movie_id": title.id if title and kind == "movies" else None,
        "show_id": title.id if title and kind == "tv" else None,
        "version": found.version,
        "identity": found.to_json(),
    }


def _settle_with_others(session: Session, library_id: int, batch: Batch) -> None:
    """Respect what another scan has put on record since this one compared.

    A new file that is there already, in its present state, is left to that scan; a moved one that
    is there already loses its old row.
    """
    works = {work.path: work for work in batch.files if work.moved or work.file_id is None}
    if not works:
        return
    there = session.execute(
        select(MediaFile.path, MediaFile.id, MediaFile.size, MediaFile.mtime_ns).where(
            MediaFile.library_id == library_id, MediaFile.path.in_(works)
        )
    )
    done = set()
    for path, file_id, size, mtime_ns in there.all():
        work = works[path]
        if work.moved and file_id != work.file_id:
            session.execute(delete(MediaFile).where(MediaFile.id == work.file_id))
        if file_id != work.file_id and (size, mtime_ns) == (work.entry.size, work.entry.mtime_ns):
            done.add(path)
    batch.files = [work for work in batch.files if work.path not in done]


def _write_files(
    session: Session, works: list[FileWork], values: list[dict[str, Any]]
) -> dict[str, int]:
    """Insert new files and update known ones; return the ids by path."""
    table = table_of(MediaFile)
    ids: dict[str, int] = {}
    new = []
    by_shape: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for work, row in zip(works, values, strict=True):
        if work.file_id is None:
            new.append(row | {"added_at": dt.datetime.now(dt.UTC)})
        else:
            ids[work.path] = work.file_id
            # One that was moved may take the path of another, once that is moved.
            by_shape[work.path if work.moved else "", *row].append({"id": work.file_id, **row})
    for rows in by_shape.values():
        update_many(session, table, rows)
    if new:
        statement = insert(session, table)
        upsert = statement.on_conflict_do_update(
            index_elements=["library_id", "path"],
            set_={
                name: statement.excluded[name]
                for name in new[0]
                if name not in ("library_id", "path", "added_at")
            },
        ).returning(table.c.path, table.c.id)
        ids |= {row[0]: row[1] for row in session.execute(upsert, new)}
    return ids


def _link_episodes(
    session: Session,
    works: Iterable[FileWork],
    file_ids: dict[str, int],
    rows: dict[str, TitleRow],
) -> None:
    """Say which episodes the files hold, making bare ones where they are not known."""
    again = [work for work in works if work.found]
    old = [work.file_id for work in again if work.file_id]
    if old:
        session.execute(
            delete(media_file_episodes).where(media_file_episodes.c.media_file_id.in_(old))
        )
    wanted = {
        work.path: [(rows[work.path].id, season, number) for season, number in numbers(work.found)]
        for work in again
        if work.found and work.path in rows
    }
    episodes = _ensure_episodes(session, {key for keys in wanted.values() for key in keys})
    links = [
        {"media_file_id": file_ids[path], "episode_id": episodes[key]}
        for path, keys in wanted.items()
        for key in keys
    ]
    if links:
        statement = insert(session, media_file_episodes)
        session.execute(statement.on_conflict_do_nothing(), links)
    _add_episode_titles(session, works, wanted, episodes)


def numbers(found: Identification) -> list[tuple[int, int]]:
    """Return season and number of each episode that can be told without a provider.

    Absolute numbers count from the first episode, so they are taken for those of season 1; a date
    tells no number.
    """
    if found.date:
        return []
    season = 1 if found.season is None else found.season
    return [(season, number) for number in found.episodes or found.absolute]


def _ensure_episodes(
    session: Session, wanted: set[tuple[int, int, int]]
) -> dict[tuple[int, int, int], int]:
    seasons = _ensure(
        session,
        Season,
        ("show_id", "number"),
        {(show_id, season) for show_id, season, _ in wanted},
    )
    episodes = _ensure(
        session,
        Episode,
        ("season_id", "number"),
        {(seasons[show_id, season], number) for show_id, season, number in wanted},
    )
    return {key: episodes[seasons[key[0], key[1]], key[2]] for key in wanted}


def _ensure(
    session: Session, model: Any, columns: tuple[str, str], wanted: set[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """Return the ids of rows by two numbers, making those that are missing."""
    if not wanted:
        return {}
    table = table_of(model)
    parent, number = table.c[columns[0]], table.c[columns[1]]
    known = session.execute(
        select(parent, number, table.c.id).where(parent.in_({key[0] for key in wanted}))
    )
    ids = {(row[0], row[1]): row[2] for row in known}
    missing = [dict(zip(columns, key, strict=True)) for key in sorted(wanted - ids.keys())]
    if missing:
        statement = insert(session, table)
        upsert = statement.on_conflict_do_update(
            index_elements=list(columns), set_={columns[1]: statement.excluded[columns[1]]}
        ).returning(parent, number, table.c.id)
        for row in session.execute(upsert, missing):
            ids[row[0], row[1]] = row[2]
    return ids


def _add_episode_titles(
    session: Session,
    works: Iterable[FileWork],
    wanted: dict[str, list[tuple[int, int, int]]],
    episodes: dict[tuple[int, int, int], int],
) -> None:
    """Add what NFO files tell of episodes, unless a provider has told already."""
    for work in works:
        for nfo in work.found.episode_details if work.found else ():
            for key in wanted.get(work.path, ()):
                if (nfo.season, nfo.episode) == key[1:] or len(wanted[work.path]) == 1:
                    fetched = exists().where(
                        Season.id == Episode.season_id, Season.details_fetched_at.is_not(None)
                    )
                    session.execute(
                        update(Episode)
                        .where(Episode.id == episodes[key], ~fetched)
                        .values(
                            title=nfo.title,
                            overview=nfo.overview,
                            air_date=nfo.date,
                            runtime=nfo.runtime,
                        )
                    )


def drop_bare_titles(session: Session, kind: Kind, ids: Iterable[int]) -> None:
    """Drop those of the titles that no provider has told of and that have no file any more."""
    ids = list(ids)
    if not ids:
        return
    model: Any = Movie if kind == "movies" else Show
    column = MediaFile.movie_id if kind == "movies" else MediaFile.show_id
    session.execute(
        delete(model).where(
            model.id.in_(ids),
            model.details_fetched_at.is_(None),
            ~exists().where(column == model.id),
        )
    )
