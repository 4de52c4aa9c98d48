"""What a file is: an id tag first, then NFO sidecars, then the name."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from haas_media.names import Identity, Unidentified, identify
from haas_media.names.folders import is_disc
from haas_media.scan.nfo import Nfo, NfoError, NfoUnreadable, read_nfo
from haas_media.scan.sidecars import folded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from haas_media.scan.walk import Listing
    from haas_media.settings import Kind

Source = Literal["tag", "nfo", "name"]


@dataclass(frozen=True, slots=True)
class Identification:
    """What one file is taken for.

    ``reason`` says why it is nothing; ``extra`` what kind of extra it is. ``ids``, ``title`` and
    ``year`` are the movie's or the show's. ``details`` is what an NFO file tells of the title,
    ``episode_details`` of the episodes, ``note`` what was wrong on the way, ``unread`` that an NFO
    file could not be opened, so that it is to be tried again; these four are not kept with the
    file.
    """

    reason: str | None = None
    extra: str | None = None
    title: str | None = None
    year: int | None = None
    ids: dict[str, str] = field(default_factory=dict)
    source: Source = "name"
    season: int | None = None
    episodes: tuple[int, ...] = ()
    date: dt.date | None = None
    absolute: tuple[int, ...] = ()
    version: str | None = None
    details: Nfo | None = None
    episode_details: tuple[Nfo, ...] = ()
    note: str | None = None
    unread: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what is kept with the file."""
        kept: dict[str, Any] = {
            "reason": self.reason,
            "extra": self.extra,
            "title": self.title,
            "year": self.year,
            "ids": self.ids,
            "source": self.source,
            "season": self.season,
            "episodes": list(self.episodes),
            "date": self.date.isoformat() if self.date else None,
            "absolute": list(self.absolute),
            "version": self.version,
        }
        return {key: value for key, value in kept.items() if value or value == 0}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Identification:
        """Undo ``to_json``."""
        date = kept.get("date")
        return cls(
            **{
                **kept,
                "date": dt.date.fromisoformat(date) if date else None,
                "episodes": tuple(kept.get("episodes", ())),
                "absolute": tuple(kept.get("absolute", ())),
            }
        )


class Identifier:
    """Identifies the files of one library, reading each NFO file once.

    Args:
        root: the library's root.
        kind: what the library holds.
        folder_nfos: the folders with a ``tvshow.nfo`` or ``movie.nfo``, with that file's name.
    """

    def __init__(self, root: Path, kind: Kind, folder_nfos: Mapping[str, str]) -> None:
        self._root = root
        self._kind = kind
        self._folder_nfos = folder_nfos
        self._cache: dict[str, tuple[Nfo, ...] | NfoError] = {}

    def folder(self, listing: Listing, names: set[str]) -> dict[str, Identification]:
        """Identify the named videos of a folder; the others only help to understand it."""
        read = {video.name: self._read_name(listing, video.name) for video in listing.videos}
        own = {folded(nfo.name): nfo.name for nfo in listing.nfos}
        if self._kind == "movies" and not _is_one_film(read):
            own.pop("movie.nfo", None)
        return {name: self._identify(listing.path, name, read[name], own) for name in names}

    def _read_name(self, listing: Listing, name: str) -> Identity | Unidentified:
        path = f"{listing.path}/{name}" if listing.path else name
        return identify(
            path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), self._kind
        )

    def _identify(
        self, folder: str, name: str, named: Identity | Unidentified, own: Mapping[str, str]
    ) -> Identification:
        if isinstance(named, Identity) and named.extra:
            return Identification(
                extra=named.extra, title=named.title, year=named.year, ids=dict(named.ids)
            )
        try:
            nfos = self._own_nfo(folder, name, own)
            show = self._show_nfo(folder) if self._kind == "tv" else None
        except NfoError as error:
            unread = isinstance(error, NfoUnreadable)
            if not named_ids(named):
                return Identification(reason=str(error), unread=unread)
            # The tag in the name has the last word anyway.
            return replace(self._judge(named, (), None), note=str(error), unread=unread)
        return self._judge(named, nfos, show)

    def _judge(
        self, named: Identity | Unidentified, nfos: tuple[Nfo, ...], show: Nfo | None
    ) -> Identification:
        return _movie(named, nfos) if self._kind == "movies" else _episode(named, nfos, show)

    def _own_nfo(self, folder: str, name: str, own: Mapping[str, str]) -> tuple[Nfo, ...]:
        """Return what the NFO file of a video says: its own, else the folder's of a film."""
        beside = own.get(f"{folded(PurePosixPath(name).stem)}.nfo")
        nfos = self._read(folder, beside) if beside else ()
        if nfos or self._kind == "tv":
            return nfos
        if "movie.nfo" in own:
            return self._read(folder, own["movie.nfo"])
        path = PurePosixPath(folder)
        while is_disc(path.name):
            path = path.parent
            above = "" if path == PurePosixPath() else str(path)
            if above in self._folder_nfos:
                return self._folder_nfo(above)
        return ()

    def _read(self, folder: str, name: str) -> tuple[Nfo, ...]:
        try:
            return read_nfo(self._root / folder / name)
        except NfoError as error:
            raise type(error)(f"Its NFO file {name} cannot be used: {error}.") from None

    def _show_nfo(self, folder: str) -> Nfo | None:
        """Return what the nearest ``tvshow.nfo`` says of the show."""
        path = PurePosixPath(folder)
        for above in (path, *path.parents):
            key = "" if above == PurePosixPath() else str(above)
            if key in self._folder_nfos:
                found = self._folder_nfo(key)
                return next((nfo for nfo in found if nfo.kind in ("tvshow", None)), None)
        return None

    def _folder_nfo(self, folder: str) -> tuple[Nfo, ...]:
        """Read the NFO file of a folder, once for all that lies below it."""
        if folder not in self._cache:
            try:
                self._cache[folder] = self._read(folder, self._folder_nfos[folder])
            except NfoError as error:
                self._cache[folder] = error
        found = self._cache[folder]
        if isinstance(found, NfoError):
            raise found
        return found


def named_ids(named: Identity | Unidentified) -> dict[str, str]:
    """Return the ids of the tags in a name."""
    return dict(named.ids) if isinstance(named, Identity) else {}


def _is_one_film(read: Mapping[str, Identity | Unidentified]) -> bool:
    """Tell whether all videos of a folder are of one film, so that ``movie.nfo`` is theirs."""
    films = {
        (named.title, named.year) if isinstance(named, Identity) else None
        for named in read.values()
        if not (isinstance(named, Identity) and named.extra)
    }
    return len(films) <= 1


def _movie(named: Identity | Unidentified, nfos: tuple[Nfo, ...]) -> Identification:
    ids = named_ids(named)
    nfo = next((nfo for nfo in nfos if nfo.kind in ("movie", None)), None)
    if nfo is None and not ids:
        if isinstance(named, Unidentified):
            return Identification(reason=named.reason)
        if named.is_episode:
            return Identification(reason=_EPISODE_AMONG_FILMS)
    by_name = named if isinstance(named, Identity) else Identity(named.path)
    source: Source = "tag" if ids else "nfo" if nfo and (nfo.ids or nfo.title) else "name"
    title = (nfo.title if nfo else None) or by_name.title
    year = (nfo.year if nfo and nfo.title else None) or by_name.year
    found_ids = ids or (nfo.ids if nfo else {})
    if not title and not found_ids:
        reason = named.reason if isinstance(named, Unidentified) else _NO_TITLE
        return Identification(reason=reason)
    return Identification(
        title=title,
        year=year,
        ids=dict(found_ids),
        source=source,
        version=by_name.version,
        details=nfo if nfo and nfo.kind else None,
    )


_EPISODE_AMONG_FILMS = (
    "The name is that of an episode, but the library holds movies. "
    "Move it to a library of kind 'tv', or give the film's folder an id tag such as {tmdb-603}."
)
_NO_TITLE = (
    "The name says nothing about what the file holds. "
    "Rename the file or its folder to 'Title (Year)'."
)
# As in NFO files.
_LARGEST_NUMBER = 999_999
_NO_NUMBER = (
    "The name tells a season or episode that is larger than any. Rename it like 'Show - S01E02'."
)
_NO_SHOW = (
    "The name tells an episode, but not which show. "
    "Put it into a folder with the show's name, or write a tvshow.nfo there."
)


def _numbers(named: Identity) -> tuple[int, ...]:
    return (named.season or 0, *named.episodes, *named.absolute)


def _episode(
    named: Identity | Unidentified, nfos: tuple[Nfo, ...], show: Nfo | None
) -> Identification:
    by_name = named if isinstance(named, Identity) else Identity(named.path)
    told = [nfo for nfo in nfos if nfo.kind == "episode"]
    numbered = [nfo for nfo in told if nfo.season is not None and nfo.episode is not None]
    show_title = (show.title if show else None) or next(
        (nfo.show_title for nfo in told if nfo.show_title), None
    )
    ids = dict(by_name.ids) or (dict(show.ids) if show else {})
    title = show_title or by_name.title
    if not numbered and not by_name.is_episode:
        return Identification(reason=named.reason if isinstance(named, Unidentified) else _NO_TITLE)
    if not title and not ids:
        return Identification(reason=_NO_SHOW)
    if not numbered and max(_numbers(by_name)) > _LARGEST_NUMBER:
        return Identification(reason=_NO_NUMBER)
    source: Source = "tag" if by_name.ids else "nfo" if show_title or ids or numbered else "name"
    found = Identification(
        title=title,
        year=(show.year if show and show.title else None) or by_name.year,
        ids=ids,
        source=source,
        season=by_name.season,
        episodes=by_name.episodes,
        date=by_name.date,
        absolute=by_name.absolute,
        version=by_name.version,
        details=show if show and show.kind else None,
        episode_details=tuple(told),
    )
    if not numbered:
        return found
    season = numbered[0].season
    numbers = [nfo.episode for nfo in numbered if nfo.season == season and nfo.episode is not None]
    return replace(
        found, season=season, episodes=tuple(dict.fromkeys(numbers)), date=None, absolute=()
    )
