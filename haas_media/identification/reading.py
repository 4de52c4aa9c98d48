"""Put together what a file's name and its folders say."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from haas_media.identification import episode_rules, numbers, rules, titles
from haas_media.identification.fallback import guess_episode, guess_film
from haas_media.identification.films import Film, film_of
from haas_media.identification.folders import extra_of, is_disc, is_generic, part_of, season_of
from haas_media.identification.identity import Identity, Kind
from haas_media.identification.ids import ids_in
from haas_media.identification.junk import is_count, is_junk, without_copy_mark
from haas_media.identification.kinds import is_whole_disc, split_extension
from haas_media.identification.numbers import Found, find_marked
from haas_media.identification.shows import Show, episode_of, released_in, show_of, show_of_folder
from haas_media.reasons import Reason

_BRACKET = re.compile(r"[\[\]{}()]")
_FILMS_TAIL = re.compile(r"(?:the)?(?:movies?|films?|filme|фильмы|劇場版|剧场版)(?:[0-9]{1,2}.*)?")
_SORTING_TAIL = re.compile(
    rf"(?:(?:dis[ck]|dvd|bd|tv|cd|vol(?:ume)?|box)+版?[0-9]*|[0-9]{{3,}}|{_FILMS_TAIL.pattern})?"
)
_BROADCAST_YEAR = re.compile(r"(?:19[5-9]|20[0-9])[0-9]")
_DIGITS = re.compile(r"[0-9]+")
MOST_NUMBERS_TO_GUESS = 9
"""Guessit finds nothing in a name without numbers, and takes seconds for one full of them."""
LONGEST_PATH = 4096
LONGEST_NAME = 512
"""Twice what file systems take for a name; text beyond it comes from elsewhere."""


def identify(text: str, kind: Kind) -> Identity:
    """Say what a file is from its path.

    Args:
        text: The file's path below the library's root, with `/` between folders.
        kind: What the library holds: `movies` or `tv`.

    Returns:
        What the name was taken for, or the reason why for nothing. Never raises for a name.
    """
    *folders, name = _parts(titles.plain(text[:LONGEST_PATH]))
    if len(text) > LONGEST_PATH or any(len(part) > LONGEST_NAME for part in (*folders, name)):
        return Identity(Reason("name-too-long"))
    stem = "" if is_whole_disc(name) else without_copy_mark(split_extension(name)[0])
    # Of several ids the file's own or the nearest folder's is right.
    ids = {of: value for named in (*folders, stem) for of, value in ids_in(named).items()}
    return (_film if kind == "movies" else _episode)(name, folders, stem, ids)


def _parts(path: str) -> list[str]:
    """Split a path at its slashes, but for those that belong to the name of a release."""
    parts = path.split("/")
    if any(
        opening in path and any(part.count(opening) != part.count(closing) for part in parts)
        for opening, closing in ("()", "[]", "【】")
    ):
        # A bracket of one part is closed in another.
        path = rules.SLASH_IN_BRACKETS.sub(lambda match: match[0].replace("/", "\0"), path)
    parts = rules.SLASH.split(path) if " / " in path else path.split("/")
    return [part.replace("\0", "/") for part in parts if part and part != "."] or [""]


def _film(name: str, folders: list[str], stem: str, ids: dict[str, str]) -> Identity:
    extra = extra_of(folders, stem)
    if extra:
        kind, folders, rest = extra
        owner = _choose(_film_of_file(rest), _film_ofs(folders, rest))
        return Identity(None, owner.title, owner.year, ids=ids, extra=kind)
    if _is_episode(folders, stem):
        return _episode(name, folders, stem, ids)
    film = _choose(_film_of_file(stem), _film_ofs(folders, stem))
    if film.title is None:
        return Identity(ids=ids) if ids else Identity(Reason("name-says-nothing"))
    # `Part 8 (2010)/Part 8` is called that.
    part = None if titles.fold(stem) == titles.fold(film.title) else film.part
    return Identity(
        None,
        film.title,
        film.year,
        ids=ids,
        edition=film.edition,
        version=film.version,
        part=part or part_of(folders) or _worded_part(stem, film.title),
        other_titles=film.other_titles,
    )


def _worded_part(stem: str, title: str) -> int | None:
    """Read `Title - Part 2` as a part where the title, as the folder has it, ends before that."""
    worded = rules.WORDED_PART.search(stem)
    before = worded and (film_of(stem[: worded.start()]).title or "")
    return int(worded[1]) if worded and titles.fold(before or "") == titles.fold(title) else None


def _is_episode(folders: list[str], stem: str) -> bool:
    """Tell whether a name in a library of films is an episode's, or a season's, all the same."""
    marked = find_marked(stem)
    if marked and stem[0].isdecimal() and _is_title(stem[: marked.end], folders, stem):
        return False
    if marked or rules.FANSUB_EPISODE.match(stem) or numbers.find_chapter(stem):
        return True
    undated = film_of(stem).year is None or numbers.find_date(stem)
    if undated and _is_numbered(folders, stem):
        return True
    # Behind release talk it is part of the name of whoever made the release.
    pack = rules.PACK_IN_FILMS
    return bool(pack.search(stem) and pack.search(titles.cut_release(stem)))


def _is_title(crossed: str, folders: list[str], stem: str) -> bool:
    """Tell whether `10x10` that begins a name is a film's title: it has a year, here or above."""
    films = map(film_of, (stem, *folders[-1:]))
    return "x0" not in crossed and any(film.year and film.title == crossed for film in films)


def _is_numbered(folders: list[str], stem: str) -> bool:
    """Tell whether a name tells season and episode in words, or an episode in a season's folder."""
    worded = numbers.find_worded(stem)
    if worded and worded.episodes and worded.season is not None:
        return True
    season = numbers.find_season(folders[-1]) if folders and not is_count(stem) else None
    if season is None or season.start:
        return False
    return episode_of(stem, None, season.season)[1] is not None


def _film_of_file(stem: str) -> Film:
    """Read the file's own name; without title when it says nothing."""
    film = film_of(stem)
    if film.certain and film.title is not None:
        return film
    nothing = is_count(stem) or is_junk(stem) or rules.RELEASE.fullmatch(titles.lower(stem))
    if nothing or (film.title and is_junk(film.title)):
        return Film(None, part=film.part)
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
        counts = is_count(folder) and titles.fold(folder) != titles.fold(stem)
        if counts or is_disc(folder) or is_generic(folder):
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


def _choose(file: Film, folder: Film | None) -> Film:
    """Choose between what file and folder say: a year decides, then the file's own title."""
    if folder is None or (folder.collection and file.title is None):
        return file
    if folder.collection:
        return _in_collection(file)
    if not _says_more(folder, file):
        return file
    edition, version = file.edition or folder.edition, file.version or folder.version
    return replace(folder, edition=edition, version=version, part=file.part or folder.part)


def _says_more(folder: Film, file: Film) -> bool:
    """Tell whether a folder has the title that its file only hints at."""
    if file.title is None:
        return True
    if folder.year is None:
        # `Title.1080p-GRP/grp-ttl.mkv`
        return folder.released and file.year is None and " " not in file.title
    same = file.year == folder.year
    own, whole = titles.fold(file.title), titles.fold(folder.title or "")
    before = own.removesuffix(whole)
    renamed = before.isdecimal() or (folder.released and before != own)
    return (
        file.year is None
        # `2001 - Title (1968)/2001 - Title.mkv`: a number of the title, not the year it sorts by.
        or f"{file.year}{own}" == whole
        # `Title.2010-GRP/grp-title.2010.mkv`, `Title (2010)/09.03.08.Title.(2010).mkv`
        or (same and file.title != folder.title and renamed)
        or (same and folder.curated and not file.curated)
    )


def _in_collection(film: Film) -> Film:
    """Drop what sorts a film in its collection: `02 - Title`, `1991 Title`."""
    title = rules.PLACE.sub("", str(film.title))
    year = rules.SORTED_IN_COLLECTION.match(title) if film.year is None else None
    if year:
        return replace(film, title=title[year.end() :], year=int(year[1]))
    return replace(film, title=title)


def _episode(name: str, folders: list[str], stem: str, ids: dict[str, str]) -> Identity:
    extra = extra_of(folders, stem)
    if extra:
        return _extra_of_show(extra, ids)
    above = _above(folders)
    if above.show is None and folders and _is_called(folders[-1], stem):
        above = Above(Show(folders[-1]))
    named, found = _episode_of_file(folders, stem, above)
    if found and found.season is None and above.show and _is_of_films(folders[-1], above.show):
        # `Show/Movies/01`: of the show, without being one of its episodes
        found = replace(found, season=0, episodes=())
    if found and found.date:
        # `Show/2010/Show 2010-05-23`
        above = _above([folder for folder in folders if folder != str(found.date.year)])
    # The folder of that title may lie anywhere: between it and the file people sort by what no
    # pattern tells (`Show/Campaign 2/Show - 2x05`).
    shows = map(show_of_folder, reversed(folders))
    same = next((show for show in shows if show.title and show.key == named.key), None)
    show = _choose_show(above, named, same, stem)
    if found is None:
        code = "no-episode" if show.title or ids else "no-show-no-episode"
        whole_disc = is_whole_disc(name)
        return Identity(Reason("disc-of-episodes" if whole_disc else code))
    identity = _identity(show, found, above.season, ids)
    of = episode_rules.PART if found.date else episode_rules.EPISODE_PART
    rest = stem[found.end :]
    part = numbers.find_part(rest, of) or (numbers.find_worded(rest) if found.date else None)
    return replace(identity, part=part.episodes[0]) if part and part.episodes else identity


def _extra_of_show(extra: tuple[str, list[str], str], ids: dict[str, str]) -> Identity:
    kind, folders, rest = extra
    above = _above(folders)
    named, found = _episode_of_file(folders, rest, above) if rest else (Show(None), None)
    if rest and named.title is None and not found:
        named = show_of(titles.cut_release(titles.without_prefix(rest)))
    show = _choose_show(above, named)
    identity = _identity(show, found or Found(0, 0), above.season, ids)
    return replace(identity, absolute=(), extra=kind)


def _identity(show: Show, found: Found, season: int | None, ids: dict[str, str]) -> Identity:
    several = len(found.seasons) > 1
    number = season if found.season is None and not several else found.season
    return Identity(
        None,
        show.title,
        show.year,
        number if found.date is None else None,
        found.episodes,
        found.date,
        found.episodes if number is None and not several else (),
        ids,
        country=show.country,
        other_titles=show.other_titles,
        bare=found.season is None and number is not None,
        seasons=found.seasons if several else (),
    )


def _episode_of_file(folders: list[str], stem: str, above: Above) -> tuple[Show, Found | None]:
    """Read the file's name, then its folder's (a release in a folder of its own), then guess."""
    release = released_in(folders[-1]) if above.released else None
    if release and find_marked(stem) is None:
        one = numbers.find_alone(stem) or numbers.find_leading(stem)
        if one and set(one.episodes) < set(release[1].episodes):
            # `S01E01-E10/05`
            return release[0], replace(release[1], episodes=one.episodes)
        return release
    if rules.MACHINE.fullmatch(stem):
        return Show(None), None
    named, found = episode_of(stem, above.show, above.season)
    if found and release and _hints_at(named, found, *release):
        # `Show.Name.S01E02.1080p-GRP/grp-sn-s01e02.mkv`
        return release[0], found
    if found:
        says_nothing = is_count(stem) or is_junk(stem) or (named.title and is_junk(named.title))
        if find_marked(stem) or not says_nothing:
            return named, found
        # `movie 1`, `1 - Copy`: counted as episodes are only in the folder of a show or a season.
        return Show(None), found if above.show or above.told else None
    if is_junk(stem) or not 0 < len(_DIGITS.findall(stem)) <= MOST_NUMBERS_TO_GUESS:
        return named, None
    guess, found = guess_episode(stem)
    return (guess, found) if guess.title or above.show else (named, None)


def _hints_at(file: Show, found: Found, show: Show, released: Found) -> bool:
    """Tell whether the folder of an episode's release has the title that its file only hints at."""
    same = (found.season, found.episodes) == (released.season, released.episodes)
    if not (same and show.title and file.title) or show.key == file.key:
        return False
    return " " not in file.title or file.key.endswith(show.key)


def _is_called(folder: str, stem: str) -> bool:
    """Tell whether a number is a show's title: what the file counts stands behind it, `86 - 03`."""
    name = titles.without_prefix(stem)
    if not (folder.isdecimal() and folder[0] != "0" and name.startswith(f"{folder} - ")):
        return False
    behind = numbers.find_after_title(name[len(folder) :], titled=True)
    return behind is not None and behind.start == 1


@dataclass(frozen=True, slots=True)
class Above:
    """What the folders say of an episode.

    `released` when a release's own folder lies between, `told` when the season's is no mere number.
    """

    show: Show | None = None
    season: int | None = None
    released: bool = False
    told: bool = False


def _above(folders: list[str]) -> Above:
    """Read the folders, the nearest first: a season's, then its show's."""
    season: int | None = None
    released = told = False
    for depth, folder in reversed(list(enumerate(folders))):
        if is_disc(folder):
            continue
        if released_in(folder):
            released = True
            continue
        of_year = depth and season is None and _BROADCAST_YEAR.fullmatch(folder)
        over = _above(folders[:depth]) if of_year else Above()
        if over.show:
            # `Show/2013/15`
            season = int(folder) if over.season is None else over.season
            return replace(over, season=season, released=released, told=True)
        found = season_of(folder) if season is None or not folder.isdecimal() else None
        if found and season and (found.title or not depth):
            found = None
        if found:
            # `Show/Season 1/Specials`, and the other way round
            season = found.number if season is None or not found.number else season
            told = told or not folder.strip().isdecimal()
            show = show_of_folder(found.title) if found.title else None
        elif depth > 1 and season is None and _is_within_season(folders[:depth]):
            continue
        else:
            show = show_of_folder(folder)
        if show and show.title and ((told and show.title.isdecimal()) or not _sorts(show, folder)):
            outer = show_of_folder(folders[depth - 1]) if depth else Show(None)
            if outer.title and _sorts_within(show, outer):
                show = replace(outer, year=outer.year or show.year)
            return Above(show, season, released, told)
    return Above(None, season, released, told)


def _is_within_season(folders: list[str]) -> bool:
    """Tell whether these folders lead to a season of a show: what lies in it is no show."""
    season = numbers.find_season(folders[-1])
    return season is not None and season.start == 0 and not is_generic(folders[-2])


def _is_of_films(folder: str, show: Show) -> bool:
    """Tell whether a folder holds the films that go with a show, and not its episodes, too."""
    tail = titles.fold(folder).removeprefix(show.key)
    return "+" not in folder and bool(_FILMS_TAIL.fullmatch(tail))


def _sorts(show: Show, folder: str) -> bool:
    """Tell whether a folder sorts shows, as `V` does, but not `V (1983)`."""
    letter_of_a_year = show.year is not None and len(str(show.title)) == 1
    return is_generic(folder) or (is_generic(str(show.title)) and not letter_of_a_year)


def _sorts_within(folder: Show, show: Show) -> bool:
    """Tell whether a folder, compared to a show's title, has no more of one than that.

    `Show Disc 2` and `Show 201-210` sort the files of `Show`, `Show - The Next Generation` is
    another show.
    """
    rest = folder.key.removeprefix(show.key)
    return folder.key.startswith(show.key) and bool(_SORTING_TAIL.fullmatch(rest))


def _choose_show(above: Above, file: Show, same: Show | None = None, stem: str = "") -> Show:
    """Prefer the folder's title; take from the file what the folder leaves open."""
    folder = above.show
    if same and folder and (same.key not in folder.key or _sorts_within(folder, same)):
        folder = same
    if folder is None or folder.title is None:
        return file
    if file.title and _BROADCAST_YEAR.fullmatch(folder.title) and folder.title not in file.title:
        # `2015/Show S01E02`
        return file
    bare = above.season is None and folder.year is None and " " in str(file.title)
    if (above.released or bare) and file.title is not None:
        # Releases are dropped anywhere: the folder that one lies in need not be its show's.
        related = folder.key in file.key or file.key in folder.key
        release = rules.GROUP.match(stem) or (" " not in stem and titles.find_release(stem))
        if not related and (above.released or release):
            others = (folder.title,) if bare else ()
            return replace(file, other_titles=(*file.other_titles, *others))
    # `Show (Catalan)/Show - 03`: what stands in brackets is a note, as the file shows.
    plain = folder.title.partition(" (")[0]
    title = plain if file.title and titles.fold(plain) == file.key else folder.title
    year, country = folder.year or file.year, folder.country or file.country
    return replace(folder, title=title, year=year, country=country)
