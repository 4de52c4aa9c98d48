"""``haas names`` and ``haas library``: what paths are taken for, what the catalog holds."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from sqlalchemy.orm import Session

    from haas_media.identification import Identity
    from haas_media.settings import Settings

CHUNK = 1 << 16


def print_names(kind: Literal["movies", "tv"], *, as_json: bool, separator: bytes) -> None:
    """Print what each path on standard input is taken for, one line each.

    Args:
        kind: what the library holds.
        as_json: JSON lines rather than text.
        separator: what ends a path.
    """
    from haas_media.identification import identify

    for raw in _split(sys.stdin.buffer, separator):
        path = raw.decode("utf-8", "surrogateescape")
        if not path.strip():
            continue
        found = identify(path, kind)
        if as_json:
            text = _json(found.to_json(path))
        elif found.reason:
            text = f"{path}\n    not identified: {found.reason}"
        else:
            text = f"{path}\n    {_described(found)}"
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    parts: list[bytes] = []
    while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]
        first, *others = chunk.split(separator)
        parts.append(first)
        for other in others:
            path = b"".join(parts)
            yield path.rstrip(b"\r") if separator == b"\n" else path
            parts = [other]
    if rest := b"".join(parts):
        yield rest


def _json(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8: JSON has to be
        return json.dumps(fields)
    return text


def _described(found: Identity) -> str:
    parts = [found.title or "", f"({found.year})" if found.year else ""]
    if found.absolute:
        parts.append("episode " + ", ".join(str(number) for number in found.absolute))
    elif found.episodes:
        season = "" if found.season is None else f"S{found.season:02d}"
        parts.append(season + "".join(f"E{number:02d}" for number in found.episodes))
    parts.append(found.date.isoformat() if found.date else "")
    parts += [f"{{{name}-{value}}}" for name, value in found.ids.items()]
    parts.append(f"[{found.extra}]" if found.extra else "")
    of = (found.edition, found.version, f"part {found.part}" if found.part else None)
    parts.append(", ".join(filter(None, of)))
    return " ".join(part for part in parts if part) or "nothing but a video file"


def print_library(settings: Settings, *, unmatched: bool, as_json: bool) -> None:
    """Print what the catalog holds.

    Args:
        settings: say where the catalog is.
        unmatched: only the files that were not identified.
        as_json: one JSON document rather than tables.

    Raises:
        CatalogError: the catalog cannot be opened.
    """
    from haas_media.catalog import open_catalog

    with (
        open_catalog(settings.database_url, read_only=True) as catalog,
        catalog.reading() as session,
    ):
        holds: dict[str, Any] = {} if unmatched else _holdings(session)
        holds["unmatched"] = _unmatched(session)
    if as_json:
        sys.stdout.write(_json(holds) + "\n")
    else:
        _print_tables(holds)


def print_prunable(
    settings: Settings, *, remove: bool, gone_for_good: list[str], as_json: bool
) -> None:
    """Print what no scan takes off the record; remove it if asked to.

    Args:
        settings: say where the catalog is, and which libraries there are.
        remove: remove it.
        gone_for_good: what is out of reach, and is to go as well.
        as_json: one JSON document rather than text.

    Raises:
        CatalogError: the catalog cannot be opened.
        PruneError: something of ``gone_for_good`` is not out of reach.
    """
    from rich.markdown import Markdown

    from haas_media.catalog import open_catalog
    from haas_media.library.prune import prune

    with open_catalog(settings.database_url, read_only=not remove) as catalog:
        report = prune(
            catalog,
            settings.libraries,
            dry_run=not remove,
            gone_for_good=gone_for_good,
            on_wait=lambda what: Console(stderr=True).print(f"Waiting: {what}.", markup=False),
        )
    if as_json:
        sys.stdout.write(_json(report.to_json()) + "\n")
        return
    console = Console(highlight=False)
    console.print(Markdown(report.to_markdown()))
    counts = report.counts()
    if not remove and (counts["libraries"] or counts["titles"] or counts["files"]):
        console.print("\nNothing was removed. 'haas library --prune --yes' removes it.")


def _holdings(session: Session) -> dict[str, Any]:
    from sqlalchemy import func, select

    from haas_media.catalog.models import Person

    return {
        "libraries": _libraries(session),
        "movies": _movies(session),
        "shows": _shows(session),
        "people": session.scalar(select(func.count()).select_from(Person)),
    }


def _libraries(session: Session) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from haas_media.catalog.library_rows import count_states
    from haas_media.catalog.models import Library

    return [
        {
            "title": library.title,
            "kind": library.kind,
            "path": library.path,
            "online": library.online,
            "offline_reason": library.offline_reason,
            "last_scanned": library.last_scanned and library.last_scanned.isoformat(),
            "files": dict(count_states(session, library.id)),
        }
        for library in session.scalars(select(Library).order_by(Library.title))
    ]


def _movies(session: Session) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from haas_media.catalog.models import MediaFile, Movie

    files: dict[int | None, list[Any]] = {}
    matched = select(
        MediaFile.movie_id, MediaFile.path, MediaFile.edition, MediaFile.version, MediaFile.part
    ).where(MediaFile.movie_id.is_not(None), MediaFile.state == "matched")
    for file in session.execute(matched.order_by(MediaFile.path)):
        files.setdefault(file.movie_id, []).append(file)
    query = select(Movie.id, Movie.title, Movie.year, Movie.tmdb_id, Movie.source)
    return [
        {
            "title": title,
            "year": year,
            "tmdb_id": tmdb,
            "source": source,
            "versions": _versions(files.get(id_, [])),
        }
        for id_, title, year, tmdb, source in session.execute(
            query.order_by(Movie.title, Movie.year)
        )
    ]


def _versions(files: list[Any]) -> list[dict[str, Any]]:
    """Put together the files that make one copy of a film, in the order of its parts."""
    copies: list[dict[int | None, Any]] = []
    for file in files:
        fitting = (
            copy
            for copy in copies
            if file.part and None not in copy and file.part not in copy
            if all((other.edition, other.version) == file[2:4] for other in copy.values())
        )
        copy = next(fitting, None)
        if copy is None:
            copies.append(copy := {})
        copy[file.part] = file
    return [
        {
            "edition": parts[0].edition,
            "version": parts[0].version,
            "files": [file.path for file in parts],
        }
        for parts in ([file for _, file in sorted(copy.items())] for copy in copies)
    ]


def _shows(session: Session) -> list[dict[str, Any]]:
    from sqlalchemy import func, select

    from haas_media.catalog.models import Episode, MediaFile, Season, Show, media_file_episodes

    counted = (
        select(MediaFile.show_id, func.count())
        .where(MediaFile.show_id.is_not(None), MediaFile.state == "matched")
        .group_by(MediaFile.show_id)
    )
    files = {show_id: count for show_id, count in session.execute(counted)}  # noqa: C416
    held = (
        select(Season.show_id, Season.number, func.count(Episode.id.distinct()))
        .join(Episode, Episode.season_id == Season.id)
        .join(media_file_episodes, media_file_episodes.c.episode_id == Episode.id)
        .group_by(Season.show_id, Season.number)
        .order_by(Season.number)
    )
    seasons: dict[int, dict[int, int]] = {}
    for show_id, number, count in session.execute(held):
        seasons.setdefault(show_id, {})[number] = count
    query = select(Show.id, Show.title, Show.year, Show.tmdb_id, Show.source)
    return [
        {
            "title": title,
            "year": year,
            "tmdb_id": tmdb,
            "source": source,
            "episodes": seasons.get(id_, {}),
            "files": files.get(id_, 0),
        }
        for id_, title, year, tmdb, source in session.execute(query.order_by(Show.title, Show.year))
    ]


def _unmatched(session: Session) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from haas_media.catalog.library_rows import list_unmatched
    from haas_media.catalog.models import Library

    return [
        {"library": library.title, "path": path, "reason": reason}
        for library in session.scalars(select(Library).order_by(Library.title))
        for path, reason in list_unmatched(session, library.id)
    ]


def _print_tables(holds: dict[str, Any]) -> None:
    console = Console(highlight=False)
    # Titles that were added on request are there before any scan.
    if not any(holds.get(name, True) for name in ("libraries", "movies", "shows")):
        console.print("The catalog is empty: nothing has been scanned yet.")
        return
    for library in holds.get("libraries", ()):
        console.print(_library_line(library), soft_wrap=True)
    if holds.get("movies"):
        console.print(_titles("Films", holds["movies"], _copies))
    if holds.get("shows"):
        console.print(_titles("Shows", holds["shows"], _seasons))
    _print_unmatched(console, holds["unmatched"], alone="libraries" not in holds)


def _library_line(library: dict[str, Any]) -> str:
    state = "[green]online[/]" if library["online"] else "[yellow]offline[/]"
    files = ", ".join(f"{count} {name}" for name, count in sorted(library["files"].items()))
    reason = f" ({escape(library['offline_reason'])})" if library["offline_reason"] else ""
    return (
        f"[bold]{escape(library['title'])}[/]  {escape(library['path'])}  {state}{reason}  "
        f"[dim]{files or 'no files'}[/]"
    )


def _titles(heading: str, titles: list[dict[str, Any]], last: Any) -> Table:
    table = Table(title=heading, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("Title", "Year", "TMDb", "Known from", "Holds"):
        table.add_column(name, overflow="fold")
    for title in titles:
        table.add_row(
            escape(title["title"]),
            str(title["year"] or ""),
            str(title["tmdb_id"] or ""),
            title["source"],
            last(title),
        )
    return table


def _copies(movie: dict[str, Any]) -> str:
    lines = []
    for copy in movie["versions"]:
        named = ", ".join(copy[name] for name in ("edition", "version") if copy[name])
        for number, path in enumerate(copy["files"], 1):
            part = f"part {number}" if len(copy["files"]) > 1 else ""
            label = ", ".join(filter(None, (named, part)))
            lines.append(escape(path) + (f"  [dim]{escape(label)}[/]" if label else ""))
    return "\n".join(lines) or "[dim]no file[/]"


def _seasons(show: dict[str, Any]) -> str:
    seasons = ", ".join(
        f"season {number}: {count}" if number else f"specials: {count}"
        for number, count in show["episodes"].items()
    )
    return seasons or f"{show['files']} files"


def _print_unmatched(console: Console, files: list[dict[str, Any]], *, alone: bool) -> None:
    if not files:
        if alone:
            console.print("Every file that was scanned is identified.")
        return
    console.print(f"\n[bold]Unmatched[/] ({len(files)})")
    for file in files:
        console.print(f"{escape(file['library'])}: {escape(file['path'])}", soft_wrap=True)
        console.print(f"    [dim]{escape(file['reason'])}[/]", soft_wrap=True)
