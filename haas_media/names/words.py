"""The vocabulary of names: what release groups, players and people add to a title."""

from __future__ import annotations

import datetime
import re

FIRST_YEAR = 1900
# Films are announced before they come out, so next year's are to be expected in a library.
LAST_YEAR = datetime.datetime.now(tz=datetime.UTC).year + 1

YEAR = r"(?:19[0-9]{2}|20[0-9]{2})"
_EDGE = r"(?<![^\W_])"
_END = r"(?![^\W_])"

_CUT = r"(?:cut|edition|version)"
# An edition in more than one word, which no title ends with that has words before it.
_LABEL = (
    rf"(?:extended|final|director'?s?|theatrical|ultimate|redux|international|unrated|uncut|special"
    rf"|despecialized|producer'?s|criterion|imax|collector'?s)[ ._-]{_CUT}"
    r"|[eé]dition[ ._-](?:collector|sp[eé]ciale|limit[eé]e)|version[ ._-](?:longue|restaur[eé]e)"
)
_EDITION = (
    rf"{_LABEL}|extended|criterion(?:[ ._-]collection)?|unrated|uncut|uncensored|remastered|imax"
    r"|open[ ._-]matte|theatrical|despecialized"
    r"|(?:[0-9]{2}th|anniversary)[ ._-](?:anniversary[ ._-])?edition"
)
EDITION = re.compile(rf"{_EDGE}(?:{_EDITION}|hybrid){_END}", re.IGNORECASE)
# Words that are release talk only right before a year or release talk: in capitals, as scene
# releases write them, where the same word in small letters may belong to a title.
TRAILING = re.compile(
    rf"(?:^|[ ._,\[\](){{}}-]+)(?:(?i:{_EDITION}|multi|german|truefrench|vost|vff|vf2?"
    r"|subbed|dubbed|hd[ ]remaster|rerip)|LIMITED|LiMiTED|INTERNAL|iNTERNAL|PROPER|CUSTOM"
    r"|INTEGRALE?|COMPLETE|DUAL|HYBRID|FRENCH|ITALIAN|iTALiAN|SPANISH|HINDI|RUSSIAN|SWEDISH|DANISH|NORWEGIAN|POLISH"
    r"|DUTCH|TAMIL|TELUGU|KOREAN|JAPANESE|CHINESE|ENGLISH|ENG|ITA|DL|WEB|CAM|TS|TC|DVD|PAL|NTSC"
    r"|VHS|PPV|HDR|HD|SD|DV|HC|WS|NF|AMZN|STV|OM|SE|DC|HFR|QC|HQ|FHD|VO)[ ._,\[\](){}-]*$"
)
# Before a year in brackets only editions are release talk; all else belongs to the title.
EDITION_AT_END = re.compile(
    rf"(?:[ ._,-]+|[ ._]*[(\[])(?:(?i:{_EDITION})|SE|DC|VF|VOSTFR)[ ._,)\]-]*$"
)
LABEL_AT_END = re.compile(rf"(?<=[^\s._,-])[ ._,-]+(?:{_LABEL})$", re.IGNORECASE)
# Before release talk in however written; before a year they may be titles (`Johnny English 2003`).
RELEASED_AT_END = re.compile(
    r"[ ._,-]+(?:french|italian|spanish|german|hindi|russian|swedish|danish|polish|dutch|japanese"
    r"|korean|chinese|tamil|telugu|multi|vost|ita|eng|rus|nfofix|convert|doku|retail|ac3d|dual"
    r"|swissgerman|limited|internal|proper|custom|complete|int[eé]grale?|remaster|hq)[ ._,-]*$",
    re.IGNORECASE,
)
STEREOSCOPIC = re.compile(r"[ ._-]+3D[ ._-]*$")

_TLDS = (
    "com|net|org|info|biz|ru|cc|ws|eu|nl|se|nu|mx|sx|es|de|fr|pl|pw|xyz|vip|pics|world|sbs|tel|"
    "club|site|online|lol|fun|top|live|one|space|host|cam|cx|ch|cz|br|hk|tw|cn|jp|kr|in|ag|la|"
    "city|day|to|tv|me|ms|unblockit|download|media|link|men|phd|li|fi|app|rs|gg"
)
# A site is a prefix of the name only in brackets, after www, or as `domain.tld - `; a top-level
# domain that is also a word ends sentences (`Despicable.Me - 2010`), so that it needs more.
SITE_PREFIX = re.compile(
    rf"""\s*(?:
    [\[({{【]\s*(?:ww+[. ])?[\w-]+(?:[. ][\w-]+)?\.[a-z]{{2,10}}\s*[\])}}】][\s._-]*
    | ww+[.,][\w-]+(?:\.[\w-]+)?\.[a-z]{{2,10}}\s*[\s._-]+
    | www[ ][\w-]+[ ](?:{_TLDS})\s*[-–]+\s+
    | [\w-]+\.(?:com|net|org|info|biz|ru|cc|ws|eu|xyz|vip|pics|club|site|online|pw|nu|nl)
      \s+[-–]+\s+
    | (?-i:[\w-]*[A-Z0-9][\w-]*\.(?:to|tv|me|in|is|it|so|es|se|my|sx|am|co|io))\s+[-–]+\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)

CHINESE = "一二三四五六七八九十"
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii"
_ENGLISH = "one two three four five six seven eight nine ten eleven twelve"
NUMBER_WORDS = {
    word: value for words in (_ROMAN, _ENGLISH) for value, word in enumerate(words.split(), start=1)
}


def is_year(value: int) -> bool:
    """Tell whether a number can be the year of a film or show."""
    return FIRST_YEAR <= value <= LAST_YEAR


def small_number(text: str) -> int | None:
    """Read digits, a roman or Chinese numeral, or an English number word."""
    if text.isdecimal():
        return int(text)
    folded = text.casefold()
    if folded in CHINESE:
        return CHINESE.index(folded) + 1
    return NUMBER_WORDS.get(folded)
