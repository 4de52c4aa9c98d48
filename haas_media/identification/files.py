"""What a file is: an id tag first, then NFO sidecars, then the name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from haas_media.identification import Identity, identify
from haas_media.identification.folders import is_disc, is_generic, season_of
from haas_media.identification.kinds import is_whole_disc
from haas_media.identification.nfo import Nfo, NfoError, NfoUnreadable, read_nfo
from haas_media.identification.sidecars import folded
from haas_media.reasons import Reason
from haas_media.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from haas_media.identification.identity import Kind, Source

_NFOS_OF_DISCS = ("index.nfo", "VIDEO_TS.nfo", "movie.nfo")


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
    ) -> dict[str, Identity]:
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
            if not named.extra:
                films.add((bool(named.reason), named.title, named.year))
            if len(films) > 1:
                return False
        return True

    def _identify(
        self, folder: str, name: str, named: Identity, own: Mapping[str, str]
    ) -> Identity:
        if named.extra:
            return Identity(extra=named.extra, title=named.title, year=named.year, ids=named.ids)
        try:
            nfos = self._own_nfo(folder, name, own)
            show = self._show_nfo(folder) if self._kind == "tv" else None
        except NfoError as error:
            unread = isinstance(error, NfoUnreadable)
            if not named.ids:
                return Identity(reason=error.reason, unread=unread)
            # The tag in the name has the last word anyway.
            return replace(self._judge(named, (), None), note=error.reason, unread=unread)
        return self._judge(named, nfos, show)

    def _judge(self, named: Identity, nfos: tuple[Nfo, ...], show: Nfo | None) -> Identity:
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


def identify_name(folder: str, name: str, kind: Kind) -> Identity:
    """Say what a file is by its name and folders alone, even if they are not UTF-8."""
    return identify(shown_path(f"{folder}/{name}" if folder else name), kind)


def _movie(named: Identity, nfos: tuple[Nfo, ...]) -> Identity:
    ids = named.ids
    fitting = (nfo for nfo in nfos if nfo.kind in ("movie", None) and _is_of(nfo, ids))
    nfo = next(fitting, None)
    if nfo is None and not ids:
        if named.reason:
            return named
        if named.is_episode:
            return Identity(reason=Reason("episode-among-films"))
    nfo_title = _title_of(nfo, named)
    source: Source = "tag" if ids else "nfo" if nfo and (nfo.ids or nfo_title) else "name"
    title = nfo_title or named.title
    year = (nfo.year if nfo and nfo_title else None) or named.year
    found_ids = ids or (nfo.ids if nfo else {})
    if not title and not found_ids:
        return Identity(reason=_reason(named))
    return Identity(
        title=title,
        other_titles=() if nfo_title else named.other_titles,
        year=year,
        ids=dict(found_ids),
        source=source,
        edition=named.edition,
        version=named.version,
        part=named.part,
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


def _reason(named: Identity) -> Reason:
    return named.reason or Reason("no-title")


def _numbers(named: Identity) -> tuple[int, ...]:
    return (named.season or 0, *named.episodes, *named.absolute)


def _episode(named: Identity, nfos: tuple[Nfo, ...], show: Nfo | None) -> Identity:
    show = show if show and _is_of(show, named.ids) else None
    details = [nfo for nfo in nfos if nfo.kind == "episode"]
    numbered = [nfo for nfo in details if nfo.season is not None and nfo.episode is not None]
    show_title = _title_of(show, named) or next(
        (nfo.show_title for nfo in details if nfo.show_title), None
    )
    ids = dict(named.ids) or (dict(show.ids) if show else {})
    title = show_title or named.title
    if named.country and not show_title:
        # Of several shows of that name it is the one from there.
        title = f"{title} ({named.country})"
    if not numbered and not named.is_episode:
        return Identity(reason=_reason(named))
    seasons = {nfo.season for nfo in numbered} or {*named.seasons}
    if len(seasons) > 1:
        told = " and ".join(str(number) for number in sorted(seasons, key=str))
        return Identity(reason=Reason("several-seasons", seasons=told))
    if not numbered and not named.episodes and named.date is None:
        code = "between-episodes" if named.season == 0 else "whole-season"
        return Identity(reason=Reason(code, season=named.season))
    if not title and not ids:
        return Identity(reason=Reason("no-show"))
    if not numbered and max(_numbers(named)) > _LARGEST_NUMBER:
        return Identity(reason=Reason("number-too-large"))
    source: Source = "tag" if named.ids else "nfo" if show_title or ids or numbered else "name"
    found = replace(
        named,
        reason=None,
        title=title,
        other_titles=() if show_title else named.other_titles,
        year=(show.year if show and show_title else None) or named.year,
        ids=ids,
        source=source,
        details=show if show and show.kind else None,
        episode_details=tuple(details),
    )
    if not numbered:
        return found
    season = numbered[0].season
    numbers = [nfo.episode for nfo in numbered if nfo.episode is not None]
    if named.season in (season, None) and set(numbers) < set(named.episodes):
        # It completes what the name says, and takes no episode away.
        numbers = list(named.episodes)
    return replace(
        found,
        season=season,
        episodes=tuple(dict.fromkeys(numbers)),
        date=None,
        absolute=(),
        bare=False,
    )
