"""What a file is: an id tag first, then NFO sidecars, then the name."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from haas_media.identification import Identity, Unidentified, identify
from haas_media.identification.folders import is_disc, is_generic, season_of
from haas_media.identification.kinds import is_whole_disc
from haas_media.identification.nfo import Nfo, NfoError, NfoUnreadable, read_nfo
from haas_media.identification.sidecars import folded
from haas_media.reasons import Reason
from haas_media.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from haas_media.identification.identity import Kind

Source = Literal["tag", "nfo", "name"]
_NFOS_OF_DISCS = ("index.nfo", "VIDEO_TS.nfo", "movie.nfo")
_KEPT = (
    *("extra", "title", "other_titles", "year", "ids", "source", "season", "episodes", "date"),
    *("absolute", "bare", "edition", "version", "part"),
)


@dataclass(frozen=True, slots=True)
class Identification:
    """What one file is taken for.

    ``reason`` says why it is nothing; ``extra`` what kind of extra it is. ``ids``, ``title`` and
    ``year`` are the movie's or the show's. ``details`` is what an NFO file tells of the title,
    ``episode_details`` of the episodes, ``note`` what was wrong on the way, ``unread`` that an NFO
    file could not be opened, so that it is to be tried again; these four are not kept with the
    file.
    """

    reason: Reason | None = None
    extra: str | None = None
    title: str | None = None
    other_titles: tuple[str, ...] = ()
    year: int | None = None
    ids: dict[str, str] = field(default_factory=dict)
    source: Source = "name"
    season: int | None = None
    episodes: tuple[int, ...] = ()
    date: dt.date | None = None
    absolute: tuple[int, ...] = ()
    bare: bool = False
    edition: str | None = None
    version: str | None = None
    part: int | None = None
    details: Nfo | None = None
    episode_details: tuple[Nfo, ...] = ()
    note: Reason | None = None
    unread: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what is kept with the file."""
        kept = {name: getattr(self, name) for name in _KEPT}
        kept["date"] = self.date.isoformat() if self.date else None
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in kept.items()
            if value or value == 0
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Identification:
        """Undo ``to_json``; what only another version keeps is left out."""
        known: dict[str, Any] = {
            name: tuple(kept[name]) if isinstance(kept[name], list) else kept[name]
            for name in _KEPT
            if name in kept
        }
        if "date" in known:
            known["date"] = dt.date.fromisoformat(known["date"])
        return cls(**known)

    @classmethod
    def of_name(cls, named: Identity) -> Identification:
        """Return what a name says by itself."""
        return cls(**{name: getattr(named, name) for name in _KEPT if name != "source"})


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

    def folder(
        self, folder: str, videos: Iterable[str], nfos: Iterable[str], names: Collection[str]
    ) -> dict[str, Identification]:
        """Identify the named videos of a folder; the others only help to understand it."""
        own = {folded(nfo): nfo for nfo in nfos}
        if "movie.nfo" in own and self._kind == "movies" and not self._is_one_film(folder, videos):
            del own["movie.nfo"]
        return {
            name: self._identify(folder, name, identify_name(folder, name, self._kind), own)
            for name in names
        }

    def _is_one_film(self, folder: str, videos: Iterable[str]) -> bool:
        """Tell whether all videos of a folder are of one film, so that ``movie.nfo`` is theirs."""
        films = set()
        for name in videos:
            named = identify_name(folder, name, self._kind)
            if not (isinstance(named, Identity) and named.extra):
                films.add((named.title, named.year) if isinstance(named, Identity) else None)
            if len(films) > 1:
                return False
        return True

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
                return Identification(reason=error.reason, unread=unread)
            # The tag in the name has the last word anyway.
            return replace(self._judge(named, (), None), note=error.reason, unread=unread)
        return self._judge(named, nfos, show)

    def _judge(
        self, named: Identity | Unidentified, nfos: tuple[Nfo, ...], show: Nfo | None
    ) -> Identification:
        return _movie(named, nfos) if self._kind == "movies" else _episode(named, nfos, show)

    def _own_nfo(self, folder: str, name: str, own: Mapping[str, str]) -> tuple[Nfo, ...]:
        """Return what the NFO file of a video says: its own, else the folder's of a film."""
        beside = own.get(f"{folded(PurePosixPath(name).stem)}.nfo")
        nfos = self._read(folder, beside) if beside else ()
        if not nfos and is_whole_disc(name):
            of_disc = (f"{name}/{each}" for each in _NFOS_OF_DISCS)
            inside = next((nfo for nfo in of_disc if (self._root / folder / nfo).is_file()), None)
            nfos = self._read(folder, inside) if inside else ()
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
            error.reason = Reason("nfo-unusable", name=shown_path(name), problem=str(error))
            raise

    def _show_nfo(self, folder: str) -> Nfo | None:
        """Return what the nearest ``tvshow.nfo`` says of the show."""
        path = PurePosixPath(folder)
        for above in (path, *path.parents):
            between = path.parts[len(above.parts) :]
            if is_generic(above.name) and not all(map(_is_of_season, between)):
                # The root, or a folder that sorts, is no show's where shows have their own.
                continue
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


def _is_of_season(folder: str) -> bool:
    season = season_of(folder)
    return is_disc(folder) or (season is not None and not season.title)


def named_ids(named: Identity | Unidentified) -> dict[str, str]:
    """Return the ids of the tags in a name."""
    return dict(named.ids) if isinstance(named, Identity) else {}


def identify_name(folder: str, name: str, kind: Kind) -> Identity | Unidentified:
    """Say what a file is by its name and folders alone, even if they are not UTF-8."""
    return identify(shown_path(f"{folder}/{name}" if folder else name), kind)


def _movie(named: Identity | Unidentified, nfos: tuple[Nfo, ...]) -> Identification:
    ids = named_ids(named)
    fitting = (nfo for nfo in nfos if nfo.kind in ("movie", None) and _is_of(nfo, ids))
    nfo = next(fitting, None)
    if nfo is None and not ids:
        if isinstance(named, Unidentified):
            return Identification(reason=named.reason)
        if named.is_episode:
            return Identification(reason=Reason("episode-among-films"))
    by_name = named if isinstance(named, Identity) else Identity(named.path)
    nfo_title = _title_of(nfo, by_name)
    source: Source = "tag" if ids else "nfo" if nfo and (nfo.ids or nfo_title) else "name"
    title = nfo_title or by_name.title
    year = (nfo.year if nfo and nfo_title else None) or by_name.year
    found_ids = ids or (nfo.ids if nfo else {})
    if not title and not found_ids:
        return Identification(reason=_reason(named))
    return Identification(
        title=title,
        other_titles=() if nfo_title else by_name.other_titles,
        year=year,
        ids=dict(found_ids),
        source=source,
        edition=by_name.edition,
        version=by_name.version,
        part=by_name.part,
        details=nfo if nfo and nfo.kind else None,
    )


def _is_of(nfo: Nfo, ids: Mapping[str, str]) -> bool:
    """Tell whether an NFO file may be of the title that a tag names: no id speaks against it."""
    return all(nfo.ids.get(source, value) == value for source, value in ids.items())


def _title_of(nfo: Nfo | None, by_name: Identity) -> str | None:
    """Return the title that an NFO file gives, unless the name's is surer."""
    return None if nfo is None or (nfo.unsure and by_name.title) else nfo.title


# As in NFO files.
_LARGEST_NUMBER = 999_999


def _reason(named: Identity | Unidentified) -> Reason:
    return named.reason if isinstance(named, Unidentified) else Reason("no-title")


def _numbers(named: Identity) -> tuple[int, ...]:
    return (named.season or 0, *named.episodes, *named.absolute)


def _episode(
    named: Identity | Unidentified, nfos: tuple[Nfo, ...], show: Nfo | None
) -> Identification:
    by_name = named if isinstance(named, Identity) else Identity(named.path)
    show = show if show and _is_of(show, by_name.ids) else None
    details = [nfo for nfo in nfos if nfo.kind == "episode"]
    numbered = [nfo for nfo in details if nfo.season is not None and nfo.episode is not None]
    show_title = _title_of(show, by_name) or next(
        (nfo.show_title for nfo in details if nfo.show_title), None
    )
    ids = dict(by_name.ids) or (dict(show.ids) if show else {})
    title = show_title or by_name.title
    if by_name.country and not show_title:
        # Of several shows of that name it is the one from there.
        title = f"{title} ({by_name.country})"
    if not numbered and not by_name.is_episode:
        return Identification(reason=_reason(named))
    seasons = {nfo.season for nfo in numbered} or {*by_name.seasons}
    if len(seasons) > 1:
        told = " and ".join(str(number) for number in sorted(seasons, key=str))
        return Identification(reason=Reason("several-seasons", seasons=told))
    if not numbered and not by_name.episodes and by_name.date is None:
        code = "between-episodes" if by_name.season == 0 else "whole-season"
        return Identification(reason=Reason(code, season=by_name.season))
    if not title and not ids:
        return Identification(reason=Reason("no-show"))
    if not numbered and max(_numbers(by_name)) > _LARGEST_NUMBER:
        return Identification(reason=Reason("number-too-large"))
    source: Source = "tag" if by_name.ids else "nfo" if show_title or ids or numbered else "name"
    found = replace(
        Identification.of_name(by_name),
        title=title,
        other_titles=() if show_title else by_name.other_titles,
        year=(show.year if show and show_title else None) or by_name.year,
        ids=ids,
        source=source,
        details=show if show and show.kind else None,
        episode_details=tuple(details),
    )
    if not numbered:
        return found
    season = numbered[0].season
    numbers = [nfo.episode for nfo in numbered if nfo.episode is not None]
    if by_name.season in (season, None) and set(numbers) < set(by_name.episodes):
        # It completes what the name says, and takes no episode away.
        numbers = list(by_name.episodes)
    return replace(
        found,
        season=season,
        episodes=tuple(dict.fromkeys(numbers)),
        date=None,
        absolute=(),
        bare=False,
    )
