"""Put together what a file's name and its folders say."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from haas_media.names.episodes import Found, find_marked
from haas_media.names.fallback import guess_episode, guess_film
from haas_media.names.films import Film, film_of, without_place
from haas_media.names.folders import (
    extra_of_folder,
    extra_of_stem,
    is_disc,
    is_generic,
    season_of,
)
from haas_media.names.identity import Identity, Kind, Unidentified
from haas_media.names.ids import ids_in
from haas_media.names.junk import is_count, is_junk, is_machine_made, without_copy_mark
from haas_media.names.kinds import split_extension
from haas_media.names.release import find_release, is_all_release
from haas_media.names.shows import Show, episode_of, released_episode, show_of_folder
from haas_media.names.text import fold, normal

if TYPE_CHECKING:
    from pathlib import PurePath

# A slash between spaces is part of a release's name (`Title / Titel`), never a folder's end.
_SLASH = re.compile(r"(?<! )/|/(?! )")
_SLASH_IN_BRACKETS = re.compile(r"\[[^\[\]/]*(?:/[^\[\]/]*)+\]|【[^【】/]*(?:/[^【】/]*)+】")
_PACK = re.compile(r"(?<=[ ._])S[0-9]{2}(?=[ ._])")
_FANSUB_EPISODE = re.compile(r"^\[[^\[\]]+\].+[ _]-[ _][0-9]{2,4}(?:v[0-9])?(?=[ _]*(?:[\[(]|$))")
_BRACKET = re.compile(r"[\[\]{}()]")

_SORTING_TAIL = re.compile(r"(?:dis[ck]|dvd|cd|vol(?:ume)?|box)?[0-9]*")
_DIGITS = re.compile(r"[0-9]+")
MOST_NUMBERS_TO_GUESS = 9
"""Guessit finds nothing in a name without numbers, and takes seconds for one full of them."""
LONGEST_PATH = 4096
LONGEST_NAME = 512
"""Twice what file systems take for a name; text beyond it comes from elsewhere."""
TOO_LONG = (
    "The name is longer than any file system takes. Rename the file, or put an id tag such as"
    " {tmdb-603} into its folder's name."
)
SAYS_NOTHING = (
    "The name says nothing about what the file holds. Rename the file or its folder to"
    " 'Title (Year)', or put an id tag such as {tmdb-603} into the folder's name."
)
NO_EPISODE = (
    "The name has no season and episode, and no date. Rename the file like 'Show - S01E02', or"
    " 'Show - 2010-05-23' for a daily show."
)
NO_SHOW_NO_EPISODE = (
    "The name says neither which show nor which episode this is. Put the file into"
    " 'Show (Year)/Season 01' and rename it like 'Show - S01E02', or put an id tag such as"
    " {tmdb-1399} into the show folder's name."
)


def identify(path: str | PurePath, kind: Kind) -> Identity | Unidentified:
    """Say what a file is from its path.

    Args:
        path: The file's path below the library's root, with `/` between folders.
        kind: What the library holds: `movies` or `tv`.

    Returns:
        What the name was taken for, or `Unidentified` with the reason. Never raises for a name.
    """
    text = path if isinstance(path, str) else path.as_posix()
    *folders, name = _parts(normal(text))
    if len(text) > LONGEST_PATH or any(len(part) > LONGEST_NAME for part in (*folders, name)):
        return Unidentified(text, TOO_LONG)
    stem = without_copy_mark(split_extension(name)[0])
    ids = _ids(folders, stem)
    if kind == "movies":
        return _film(text, folders, stem, ids)
    return _episode(text, folders, stem, ids)


def _parts(path: str) -> list[str]:
    """Split a path at its slashes, but for those that belong to the name of a release."""
    if "/" not in path:
        return [path]
    if "[" in path or "【" in path:
        path = _SLASH_IN_BRACKETS.sub(lambda match: match[0].replace("/", "\0"), path)
    parts = _SLASH.split(path) if " / " in path else path.split("/")
    return [part.replace("\0", "/") for part in parts if part and part != "."] or [""]


def _ids(folders: list[str], stem: str) -> dict[str, str]:
    """Merge the tags of all names; that of the file or the nearest folder wins."""
    ids: dict[str, str] = {}
    for name in (*folders, stem):
        ids.update(ids_in(name))
    return ids


def _extra(folders: list[str], stem: str) -> tuple[str, list[str], str] | None:
    """Return the kind of extra, and the folders and the name of the title it is an extra of."""
    for depth in range(len(folders) - 1, -1, -1):
        kind = extra_of_folder(folders[depth])
        if kind and (depth or _sorts_extras(folders, stem)):
            return kind, folders[:depth], ""
    told = extra_of_stem(stem)
    return (told[0], folders, told[1]) if told else None


def _sorts_extras(folders: list[str], stem: str) -> bool:
    """Tell whether a folder of extras at the library's root is that, not a show of this name."""
    return not any(season_of(folder) for folder in folders[1:]) and find_marked(stem) is None


def _film(path: str, folders: list[str], stem: str, ids: dict[str, str]) -> Identity | Unidentified:
    extra = _extra(folders, stem)
    if extra:
        kind, folders, rest = extra
        owner = _choose(_film_of_file(rest) if rest else None, _film_ofs(folders, rest))
        title, year = (owner.title, owner.year) if owner else (None, None)
        return Identity(path, title, year, ids=ids, extra=kind)
    if _is_episode(stem):
        return _episode(path, folders, stem, ids)
    film = _choose(_film_of_file(stem), _film_ofs(folders, stem))
    if film is None or film.title is None:
        return Identity(path, ids=ids) if ids else Unidentified(path, SAYS_NOTHING)
    return Identity(path, film.title, film.year, ids=ids, version=film.version, part=film.part)


def _is_episode(stem: str) -> bool:
    """Tell whether a name in a library of films is an episode's, or a season's, all the same."""
    pack, release = _PACK.search(stem), find_release(stem)
    if pack and release and release.start() < pack.start():
        # Part of the name of whoever made the release.
        pack = None
    return bool(find_marked(stem) or pack or _FANSUB_EPISODE.match(stem))


def _film_of_file(stem: str) -> Film | None:
    """Read the file's own name; None when it says nothing."""
    if is_count(stem):
        return None
    film = film_of(stem)
    if film.certain and film.title is not None:
        return film
    if is_junk(stem) or is_all_release(stem) or (film.title and is_junk(film.title)):
        return None if film.part is None else Film(None, part=film.part)
    if film.title is not None and not _BRACKET.search(film.title):
        return film
    guess = guess_film(stem)
    return guess if guess.title else film


def _film_ofs(folders: list[str], stem: str) -> Film | None:
    """Read the nearest folder that names a film, first of all one with a year.

    A number alone names one if the file, by its `stem`, is called the same.
    """
    plain: Film | None = None
    for folder in reversed(folders):
        if is_disc(folder) or is_generic(folder):
            continue
        if is_count(folder) and fold(folder) != fold(stem):
            continue
        if is_count(stem) and not folder.isdecimal() and season_of(folder):
            # A number in a season's folder is an episode, whatever the library holds.
            return None
        film = film_of(folder)
        if film.title is None or (not film.curated and is_generic(film.title)):
            continue
        if film.year is not None:
            return film
        plain = plain or film
    return plain


def _choose(file: Film | None, folder: Film | None) -> Film | None:
    """Choose between what file and folder say: a year decides, then the file's own title."""
    if file is None or file.title is None:
        if folder is None or folder.collection:
            return None
        return folder if file is None else _with_details(folder, file)
    if folder and folder.collection:
        return replace(file, title=without_place(file.title))
    if folder is None:
        return file
    if folder.year is None:
        return _with_details(folder, file) if _abbreviates(file, folder) else file
    same = file.year == folder.year
    if folder.title and fold(f"{file.year}{file.title}") == fold(folder.title):
        # `2001 - Title (1968)/2001 - Title.mkv`: a number of the title, not the year it sorts by.
        return _with_details(folder, file)
    if file.year is None or (same and (folder.curated and not file.curated)):
        return _with_details(folder, file)
    if same and folder.title and fold(file.title).endswith(fold(folder.title)):
        return _with_details(folder, file)
    return file


def _abbreviates(file: Film, folder: Film) -> bool:
    """Tell whether a release's folder has the title that its file only hints at (`grp-ttl`)."""
    return folder.released and file.year is None and bool(file.title) and " " not in str(file.title)


def _with_details(film: Film, details: Film) -> Film:
    return Film(film.title, film.year, details.version or film.version, details.part)


def _episode(
    path: str, folders: list[str], stem: str, ids: dict[str, str]
) -> Identity | Unidentified:
    extra = _extra(folders, stem)
    if extra:
        return _extra_of_show(path, extra, ids)
    above = _above(folders)
    named, found = _episode_of_file(folders, stem, above)
    if found and found.date:
        # `Show/2010/Show 2010-05-23`
        above = _above([folder for folder in folders if folder != str(found.date.year)])
    show = _choose_show(above, named, _named_above(folders, named))
    if found is None:
        return Unidentified(path, NO_EPISODE if show.title or ids else NO_SHOW_NO_EPISODE)
    return _identity(path, show, found, above.season, ids)


def _extra_of_show(path: str, extra: tuple[str, list[str], str], ids: dict[str, str]) -> Identity:
    kind, folders, rest = extra
    above = _above(folders)
    named, found = _episode_of_file(folders, rest, above) if rest else (Show(None), None)
    show = _choose_show(above, named)
    identity = _identity(path, show, found or Found(0, 0), above.season, ids)
    return replace(identity, absolute=(), extra=kind)


def _identity(
    path: str, show: Show, found: Found, season: int | None, ids: dict[str, str]
) -> Identity:
    several = len(found.seasons) > 1
    number = season if found.season is None and not several else found.season
    return Identity(
        path,
        show.title,
        show.year,
        number if found.date is None else None,
        found.episodes,
        found.date,
        found.episodes if number is None and not several else (),
        ids,
        country=show.country,
        seasons=found.seasons if several else (),
    )


def _episode_of_file(folders: list[str], stem: str, above: Above) -> tuple[Show, Found | None]:
    """Read the file's name, then its folder's (a release in a folder of its own), then guess."""
    release = released_episode(folders[-1]) if above.released else None
    if release and find_marked(stem) is None:
        return release
    if is_machine_made(stem):
        return Show(None), None
    named, found = episode_of(stem, above.show, above.season)
    if found:
        return _unless_rubbish(named, found, stem, above)
    if is_junk(stem) or not 0 < len(_DIGITS.findall(stem)) <= MOST_NUMBERS_TO_GUESS:
        return named, None
    guess, found = guess_episode(stem)
    return (guess, found) if guess.title or above.show else (named, None)


def _unless_rubbish(
    named: Show, found: Found, stem: str, above: Above
) -> tuple[Show, Found | None]:
    """Drop what was read of a name such as `movie 1` or `1 - Copy`, whose number counts files."""
    title = named.title
    if find_marked(stem) or not (is_count(stem) or is_junk(stem) or (title and is_junk(title))):
        return named, found
    # In the folder of a show, files are counted as its episodes are.
    return Show(None), found if above.show else None


@dataclass(frozen=True, slots=True)
class Above:
    """What the folders say of an episode; `released` when a release's own folder lies between."""

    show: Show | None = None
    season: int | None = None
    released: bool = False


def _above(folders: list[str]) -> Above:
    """Read the folders, the nearest first: a season's, then its show's."""
    season: int | None = None
    released = False
    for folder in reversed(folders):
        if is_disc(folder):
            continue
        if released_episode(folder):
            released = True
            continue
        found = season_of(folder) if season is None else None
        if found:
            season = found.number
            show = show_of_folder(found.title) if found.title else None
        else:
            show = show_of_folder(folder)
        if show and show.title and not _sorts(show):
            return Above(show, season, released)
    return Above(None, season, released)


def _sorts(show: Show) -> bool:
    """Tell whether a folder sorts shows, as `V` does, but not `V (1983)`."""
    letter_of_a_year = show.year is not None and len(str(show.title)) == 1
    return is_generic(str(show.title)) and not letter_of_a_year


def _named_above(folders: list[str], file: Show) -> Show | None:
    """Return the folder that has the title which the file has, wherever it lies.

    Between it and the file people sort by what no pattern tells (`Show/Campaign 2/Show - 2x05`).
    """
    if file.title is None or len(folders) < 2:
        return None
    wanted = fold(file.title)
    for folder in reversed(folders):
        show = show_of_folder(folder)
        if show.title and fold(show.title) == wanted:
            return show
    return None


def _only_sorts(folder: str, title: str) -> bool:
    """Tell whether a folder, that lies in one of a show's title, has no longer title of a show.

    `Show/Show Disc 2` and `Show/Show 201-210` sort, `Show/Show - The Next Generation` is another.
    """
    before, title_in, after = fold(folder).partition(fold(title))
    return not title_in or (not before and bool(_SORTING_TAIL.fullmatch(after)))


def _choose_show(above: Above, file: Show, same: Show | None = None) -> Show:
    """Prefer the folder's title; take from the file what the folder leaves open."""
    folder = above.show
    if same and folder and _only_sorts(str(folder.title), str(file.title)):
        folder = same
    if folder is None or folder.title is None:
        return file
    if above.released and file.title is not None:
        # Release folders are dropped anywhere: what lies above one need not be the show.
        mine, other = fold(folder.title), fold(file.title)
        if mine not in other and other not in mine:
            return file
    return Show(folder.title, folder.year or file.year, folder.country or file.country)
