"""Recognise names that say nothing: hashes, random letters, what discs and cameras number."""

from __future__ import annotations

import re

_HASH = re.compile(
    r"\{?(?:trim\.)?(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE
)
# What discs, cameras, phones and recorders name their files.
_MACHINE = re.compile(
    r"""(?:
    vts[ _.-]?[0-9]+(?:[ _.-][0-9]+)? | video[ _.-]?ts | vr[ _-]?m(?:ovie|angr)
    | (?:img|dsc[nf]?|mvi|mov|vid|gopr|gp|g[hx]|dji|pxl|p|cimg|sam|hdv|c|mah|m2u|vlc(?:record)?)
      [ _-]?[0-9]{4,}.*
    | img_e[0-9]{4,}.*
    | (?:whatsapp|signal)[ -].* | screen[ -]?(?:recording|capture|cast)?[ ].*[0-9].*
    | [0-9]{5,}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBERED = re.compile(
    r"""(?:
    0[0-9]{1,}
    | (?:title|track|chapter|disc|disk|dvd|bd|cd|part|pt|clip|file|stream|scene|movie|video|film)
      [ _.-]?t?[0-9]{0,4}
    | (?:main[ _.-]?)?(?:feature|movie|film|video|main|untitled|unknown|output|out|new|test|temp|tmp
      |default|export|render|copy(?:[ ]of)?|rip|encode|encoded|capture|recording|playlist|content
      |media|sample|video[ _-]?playback|(?:my|home|family)[ _-]?(?:movie|video|film))
      [ _.-]?[0-9]*
    | new[ ](?:folder|project|video).*
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# When a recording began, to the minute; a recorder keeps it in the folder of its show.
_TIMESTAMP = re.compile(
    r"(?:19|20)[0-9]{2}([._-]?)[01][0-9]\1[0-3][0-9](?:[ ._T-]|[ ]at[ ]){1,3}"
    r"[0-2][0-9][.:_h-]?[0-5][0-9](?:[.:_m-]?[0-5][0-9])?s?",
    re.IGNORECASE,
)
# What systems call a folder until somebody names it, and cameras the folders on their cards.
_UNNAMED_FOLDER = re.compile(
    r"""(?:
    (?:(?:new|untitled)[ ]folder|neuer[ ]ordner|nouveau[ ]dossier|dossier[ ]sans[ ]titre
      |nueva[ ]carpeta|carpeta[ ]sin[ ]t[ií]tulo|nuova[ ]cartella|cartella[ ]senza[ ]titolo
      |nova[ ]pasta|pasta[ ]sem[ ]t[ií]tulo|nieuwe[ ]map|naamloze[ ]map|ny[ ]mapp?e?|uusi[ ]kansio
      |nowy[ ]folder|nov[áa][ ]složka|új[ ]mappa|yeni[ ]klas[öo]r|(?:новая|нова)[ ]папка
      |新建文件夹|新增資料夾|新しいフォルダー|새[ ]폴더)
      [ ]?\(?[0-9]{0,3}\)?
    | dcim
    | [1-9][0-9]{2}(?:_?pana|_?fuji|canon|apple|media|gopro|nikon|nc[a-z0-9]{3}|msdcf|olymp|andro)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# What a second copy of a file is called.
_COPY_OF = re.compile(r"^(?:copy(?:[ ]\([0-9]{1,2}\))?[ ]of|kopie[ ]von)[ ]", re.IGNORECASE)
_COPY_AT_END = re.compile(r"(?<=[^\s]) - (?:copy|kopie)(?: ?\([0-9]{1,2}\))?$", re.IGNORECASE)
_COPY = re.compile(
    rf"""{_COPY_OF.pattern}
    | [ ._]*-?[ ._]*(?<![^\W_])\(?(?:copy|kopie|copie|copia)(?:[ ]?[0-9]{{1,2}})?\)?
      (?:[ ]?\([0-9]{{1,2}}\))?$
    | (?<=[^\s])[ ._]?\([0-9]{{1,2}}\)$""",
    re.IGNORECASE | re.VERBOSE,
)
_COUNT = re.compile(r"[0-9]{1,2}")
_ROWS = re.compile(
    r"^(?:qwert|asdf|sdfg|zxcv|xcvb|hjkl|lkjh|fdsa|poiu|mnbv|qazwsx|1234qwer|abcdef?g?)[a-z0-9]*$",
    re.IGNORECASE,
)
# Pairs of letters that words of no language with Latin letters hold, but random typing does.
_RARE = """
    bq bx cj cv cx dx fq fv fx fz gq gv gx hq hx jb jc jf jg jh jk jl jm jp jq jr jv jw jx jz kq
    kv kx lq lx mq mx mz pq px pz qb qc qd qf qg qh qj qk ql qm qn qo qp qr qt qv qw qx qy qz sx
    vf vg vh vj vm vq vw vx wj wq wv wx wz xb xd xg xj xk xq xr xz yq zc zf zj zq zr zs zx
"""
_RARE_PAIRS = frozenset(_RARE.split())
_ONE_LETTER = re.compile(r"([^\W\d_])\1{4,}", re.IGNORECASE)
_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_TRANSITION = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])", re.IGNORECASE)


def is_junk(stem: str) -> bool:
    """Tell whether a name without extension says nothing about what the file holds."""
    stem = without_copy(stem).strip(" ._-[](){}")
    if not stem or not any(map(str.isalnum, stem)):
        return True
    if is_machine_made(stem) or _NUMBERED.fullmatch(stem) or is_unnamed_folder(stem):
        return True
    return stem.isascii() and (is_random(stem) or bool(_TIMESTAMP.fullmatch(stem)))


def is_count(stem: str) -> bool:
    """Tell whether a name is only a number that counts files, `1` or `12`.

    Longer ones are titles more often (`300`, `1917`); a short one is when a year or a folder of the
    same name says so too.
    """
    return bool(_COUNT.fullmatch(without_copy(stem).strip(" ._-[](){}#")))


def without_copy(stem: str) -> str:
    """Drop what a system adds to the name of a copy: `Copy of x`, `x - Copy`, `x (1)`."""
    if "(" not in stem and "cop" not in (folded := stem.casefold()) and "kop" not in folded:
        return stem
    rest = _COPY.sub("", stem)
    return rest if any(map(str.isalnum, rest)) else stem


def without_copy_mark(stem: str) -> str:
    """Drop `Copy of ` from before a name that tells something, and ` - Copy` from behind it."""
    return _COPY_AT_END.sub("", _COPY_OF.sub("", stem)) or stem


def is_unnamed_folder(folder: str) -> bool:
    """Tell whether a folder has the name that it was made with."""
    return bool(_UNNAMED_FOLDER.fullmatch(folder.strip()))


def is_machine_made(stem: str) -> bool:
    """Tell whether a name is a hash or was given by a device, so that its numbers count nothing."""
    return bool(_HASH.fullmatch(stem) or _MACHINE.fullmatch(stem))


def is_random(word: str) -> bool:
    """Tell whether a single word looks typed or drawn at random rather than written."""
    if _ONE_LETTER.fullmatch(word):
        return True
    if not word.replace("-", "").replace("_", "").isalnum() or word.count("-") > 1:
        return False
    letters = word.casefold()
    if _ROWS.match(letters):
        return len(letters) > 4 or not letters.isalpha()
    if any(map(str.isdecimal, letters)):
        digits = sum(map(str.isdecimal, letters))
        if len(_CHANGE.findall(word)) >= max(6, 0.4 * len(word)):
            # `dQw4w9WgXcQ`: the id of a video on the web. Words that run together change less.
            return True
        return len(letters) >= 8 and digits >= 3 and len(_TRANSITION.findall(letters)) >= 4
    if not letters.isalpha() or len(letters) < 5:
        return False
    rare = sum(letters[at : at + 2] in _RARE_PAIRS for at in range(len(letters) - 1))
    vowels = sum(letter in "aeiouy" for letter in letters)
    return rare >= 2 or (len(letters) >= 6 and not vowels)
