"""What a name means: every pattern that names are read by, in the order in which they are asked.

Each rule says what it finds, with names in which ``‹ ›`` enclose what it finds, and names that look
alike in which it finds nothing (``but``); the tests read both. Names of numbers' parts are read by
their groups (``season``, ``episode``, ``year`` ...). Rules without ``_I`` are asked about names in
small letters: ignoring case makes a search among many words three times as slow. What no rule
takes is left to guessit.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

_I = re.IGNORECASE
_X = re.VERBOSE


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, what it finds, names in which it does, and names in which it does not."""

    meaning: str
    pattern: re.Pattern[str]
    examples: tuple[str, ...]
    but: tuple[str, ...]


TABLE: list[Rule] = []


def _rule(
    meaning: str, pattern: str, *examples: str, but: tuple[str, ...] = (), flags: int = 0
) -> re.Pattern[str]:
    compiled = re.compile(pattern, flags)
    TABLE.append(Rule(meaning, compiled, examples, but))
    return compiled


# Films older than the first are asked for in no catalogue. Films are announced before they come
# out, so next year's are to be expected in a library.
FIRST_YEAR, LAST_YEAR = 1870, datetime.datetime.now(tz=datetime.UTC).year + 1
YEAR = r"(?:18[7-9][0-9]|19[0-9]{2}|20[0-9]{2})"
_NO = r"(?<![^\W_])"
_END = r"(?![^\W_])"
_UPTO5 = r"[0-9]{1,5}"

# ---- Vocabulary that several rules share.
SEASON_WORD = (
    r"seasons?|series|saisons?|staffeln?|temporad[ae]s?|temp?|stagion[ei]|сезон(?:[ыи]|а(?!й))?|sezon(?:[aiy]|as|ul)?"
    r"|sezóna|sez|séri[ea]|řada|seizoen(?:en)?|seiz|säsong(?:er)?|sæson|saeson|sesong|kausi|évad|évfolyam"
    r"|sorozat|hooaeg|musim|mùa|σεζόν|κύκλος|עונה|シーズン|시즌|الموسم|ฤดูกาล|सीज़न"
)
EPISODE_WORD = (
    r"episodes?|eps?|eipsode|folgen?|cap[ií]tulos?|cap|epis[oó]dios?|episodul|épisodes?|afl(?:evering(?:en)?)?"
    r"|сері[яії]|сери[яий]|сер|[эе]пизод[ыа]?|епізод|seri[jyi]?[ai]|serija|seri[ij]|sērija|ser|bölüm|bolum|avsnitt"
    r"|odcinek|odc|jakso|afsnit|epizoda?|epizód|chapter|chap|díl|rész|επεισόδιο|פרק|الحلقة|ตอน|tập"
)
_AND = r"and|en|et|und|och|og|ja|e|y|i|и"
TO_WORDS = ("-", "–", "~", ":", "to", "bis", "à", "по", "al", "a", "t-m", "t/m", "tot")
_TO = r"to|a|al|à|bis|по|tot|t[-/]m"
_TLDS = (
    "com|net|org|info|biz|ru|cc|ws|eu|nl|se|nu|mx|sx|es|de|fr|pl|pw|xyz|vip|pics|world|sbs|tel|"
    "club|site|online|lol|fun|top|live|one|space|host|cam|cx|ch|cz|br|hk|tw|cn|jp|kr|in|ag|la|"
    "city|day|to|tv|me|ms|unblockit|download|media|link|men|phd|li|fi|app|rs|gg"
)
_LABEL = (
    r"(?:extended|final|complete|director'?s?|theatrical|ultimate|redux|international|unrated|uncut|special"
    r"|despecialized|producer'?s|criterion|imax|collector'?s)[ ._-](?:cut|edition|version)"
    r"|[eé]dition[ ._-](?:collector|sp[eé]ciale|limit[eé]e)|version[ ._-](?:longue|restaur[eé]e)"
)
_EDITION = (
    rf"{_LABEL}|extended|criterion(?:[ ._-]collection)?|unrated|uncut|uncensored|remastered|imax"
    r"|open[ ._-]matte|theatrical|despecialized"
    r"|(?:[0-9]{2}th|anniversary)[ ._-](?:anniversary[ ._-])?edition"
)
_LANGUAGE = (
    r"french|italian|spanish|german|hindi|russian|swedish|danish|polish|dutch|japanese|korean"
    r"|chinese|tamil|telugu|swissgerman"
)
# Countries that people add to a show's name; bare ones only where that is usual.
COUNTRIES = (
    "US UK GB AU NZ CA IE ZA DE AT CH FR BE NL ES PT IT SE NO DK FI IS PL CZ HU RO GR TR RU UA IL"
    " IN JP KR CN TW HK TH PH BR MX AR CL CO"
).split()

# A rule reads as a row.
# fmt: off

# ---- 1. Tags and marks that are not the name's.
TAG = _rule("the id of a database, in any brackets",
    r"[\[({]\s*(tmdb|themoviedb|imdb|tvdb|thetvdb)(?:[ _-]?id)?\s*[-=:_ ]\s*"
    r"(tt[0-9]{1,10}|[0-9]{1,10})\s*[\])}]", "Film ‹{tmdb-603}›", "Film ‹[tmdbid=603]›",
    but=("Film {603}", "tmdb 603"), flags=_I)
BARE_IMDB = _rule("IMDb's id needs no mark", r"(?<![A-Za-z0-9])(tt[0-9]{7,9})(?![A-Za-z0-9])",
    "Film ‹tt0133093›", but=("Film tt01", "Att0133093"))
EDITION_TAG = _rule("the edition, as Plex has it", r"\{\s*edition[-= ]\s*([^{}]+?)\s*\}",
    "Film (2000) ‹{edition-Final Cut}›", but=("Film {Final Cut}",), flags=_I)
ANY_TAG = re.compile(
    rf"\s*(?:{TAG.pattern}|{EDITION_TAG.pattern}|[\[({{]\s*{BARE_IMDB.pattern}\s*[\])}}])", _I
)
CHECKSUM = _rule("eight hexadecimal digits in brackets", r"[\s._-]*[\[(][0-9A-Fa-f]{8}[\])]",
    "Show - 03‹ [ABCD1234]›", but=("Show [ABCDEFGH]",))
SLASH = _rule("the end of a folder; between spaces it joins two titles", r"(?<! )/|/(?! )", "Show‹/›03",
    but=("Title / Titel",))
SLASH_IN_BRACKETS = _rule("slashes within a bracket belong to the name",
    r"\[[^\[\]/]*(?:/[^\[\]/]*)+\]|【[^【】/]*(?:/[^【】/]*)+】"
    r"|(?<=[ ._])\([^()/]*(?:/[^()/]*)+\)", "Show ‹(2024/S01E07/WEB)› GRP", "Show ‹[NF/WEB]›",
    but=("Show (2024)/S01 (x)",))
SITE = _rule(
    "a site in front: in brackets, after www, or `domain - `; an ending that is also a word needs"
    " more (`Despicable.Me - 2010`)",
    rf"""\s*(?:
    [\[({{【]{{1,2}}\s*(?:ww+[. ])?[\w-]+(?:[. ][\w-]+)?\.[a-z]{{2,10}}\s*[\])}}】]{{1,2}}[\s._-]*
    | [^\W0-9_a-z]{{0,8}}ww+[.,][\w-]+?(?:\.[\w-]+?)?\.(?:(?:{_TLDS})[\s._-]+|[a-z]{{2,10}}\s+[\s-]*)
    | www[ ][\w-]+[ ](?:(?:co|com)[ ])?(?:{_TLDS})\s*[-–]+\s+
    | [\w-]+\.(?:com|net|org|info|biz)(?:\s+[-–]+\s+|[_])
    | [\w-]+\.(?:xyz|vip|pics|club|site|online|(?!am|as|at|be|by|do|go|he|in|is|it|la|me|my|no|of
      |on|or|so|to|tv|up|us|we)[a-z]{{2}})\s+[-–]+\s+(?=[^\W\d_])
    )""", "‹films123.ca - ›Film",
    "‹[ www.films.org ] - ›Film", "‹www.Films.sx - ›Film", "‹{{ films.tv }} ›Film", but=("Despicable.Me - 2010", "Velvet.ca - 2010"),
    flags=_I | _X)
GROUP = _rule("a release group in brackets in front",
    r"^[\s._-]*(?:\[[^\[\]]*\]|【[^【】]*】|\{[^{}]*\}|★[^★]*★|[\w-]+\.\[[^\[\]]*\](?=_))[\s._-]*",
    "‹[Group] ›Show - 03", but=("Show [Group]",))
RECORDED = _rule("the day of a recording in front of a show with a number",
    r"^[\[(]?(?:19|20)?[0-9]{2}[.-]?(?:0[1-9]|1[0-2])[.-]?(?:0[1-9]|[12][0-9]|3[01])[\])]?"
    r"(?:-[0-2][0-9][0-5][0-9])?[\s._-]+(?=[^\W_])",
    "‹221208 ›AB1 Night Talk ep11", "‹2014-08-15 ›Show S01E02", "‹20190421-2015 ›Dock Watch S11E04",
    but=("100000 Questions S01E02",))

# ---- 2. Words of a release, which no title holds: a name speaks of a title up to the first.
RELEASE = _rule("release talk",
    rf"""{_NO}(?:
    [0-9]{{3,4}}[x×][0-9]{{3,4}} | [0-9]{{3,4}}[pi] | 1[0o]8[0o]p | [48]k
    | (?:u|ultra|full|f)[ .-]?hd(?:[ .-]?rip)?
    | blu[ .-]?ray | bd[ .-]?(?:rip|remux|r) | br[ .-]?rip | remux
    | (?:hd)?dvd[ .-]?(?:rip|scr|screener|[59r]) | hd[ .-]?dvd | (?:true)?hd[ .-]?rip
    | (?:bd|br|web|dvd|hdtv|hd)[ .-]?(?:rip)?mux
    | hd[ .-]?(?:tv[ .-]?rip|tv|cam|ts|tc) | (?:web|tv|cam|vhs|sat|dvb|ppv|vod|dsr?)[ .-]?rip
    | web[ ._-]?dl | web(?=[ .][xh][ .]?26) | pdtv | tele[ .-]?(?:sync|cine) | ts[ .-]?screener
    | screener | workprint
    | [xh][ .]?26[456] | hevc | avc | xvid | divx | av1 | vp9 | mpeg[ .-]?[24]
    | (?:8|10|12)[ -]?bits? | [0-9]{{2,3}}(?:\.[0-9]{{1,3}})?[ ]?fps
    | hi10p? | hdr(?:10)?(?:p|plus|\+)? | dovi
    | (?:3d[ .-])?(?:h(?:alf)?[ .-]?)(?:sbs|ou|tab) | 3d[ .-](?:sbs|ou|tab)
    | aac(?:[0-9x][0-9.]*)? | e?[ -]?ac-?3(?:[0-9.]+)? | dts(?:[ -]?(?:hd|x|es))?
    | true[ -]?hd | atmos
    | dd[p+]?a?[ .]?[257][ .][01] | flac(?:x?[0-9.]*)? | mp3
    | vostfr | vosta? | true ?french | sub ?french | sub ?forced | fast ?sub | multi[ .-]?subs?
    | dual[ ._-]?audio | (?:e|m|multi)-?subs | soft-?subs? | hard-?subs? | dubbed | subbed
    | audio[ .]latino
    | read ?nfo | repack | rarbg | yify | yts | ettv | eztv
    | (?:swe|nor|dan|fin|nl|eng|ger|ita|rus|pl)[ .-]?sub(?:s|bed)?
    ){_END}""", "film.‹1080p›.bluray",
    "iron swan ‹ultrahd›", but=("ultra violet", "the hd"), flags=_X)
LEADING_RELEASE = re.compile(rf"(?:{RELEASE.pattern}[\s._-]+)+(?<=[-\s])(?=[^\W\d_])", _X)
ARTICLE = re.compile(r"[\W_]*(?:(?:the|an?|my|le|la|el|der|die|das)[\W_]+)?", _I)
YEAR_NEXT = re.compile(rf"[ ._-]+[(\[]?{YEAR}{_END}")
EDITION = _rule("an edition", rf"{_NO}(?:{_EDITION}|hybrid){_END}", "Film.2000.‹Extended.Cut›", "Film ‹IMAX›",
    but=("The Extender",), flags=_I)
# In capitals, as scene releases write them: the same word in small letters may belong to a title.
TRAILING = _rule("words that are release talk only right before a year or release talk",
    rf"(?:^|[ ._,+\[\](){{}}-]+)(?:(?i:{_EDITION}|multi|german|truefrench|vost|vf[2fiq]?|[2-4]cds?"
    r"|subbed|dubbed|hd[ ]remaster|rerip)|LIMITED|LiMiTED|INTERNAL|iNTERNAL|PROPER|CUSTOM"
    r"|INTEGRALE?|COMPLETE|DUAL|HYBRID|FRENCH|ITALIAN|iTALiAN|SPANISH|HINDI|RUSSIAN|SWEDISH|DANISH"
    r"|NORWEGIAN|POLISH|DUTCH|TAMIL|TELUGU|KOREAN|JAPANESE|CHINESE|ENGLISH|ENG|ITA|DL|WEB|CAM|TS|TC"
    r"|DVD|BD|PAL|NTSC|VHS|PPV|HDR|HD|SD|DV|V[2-9]|HC|WS|NF|AMZN|STV|OM|SE|DC|HFR|QC|HQ|FHD|VO)"
    r"[ ._,\[\](){}-]*$", "Film‹.LIMITED›", "Film‹ unrated›", but=("Film.limited",))
EDITION_AT_END = re.compile(
    rf"(?:[ ._,-]+|[ ._]*[(\[])(?:(?i:{_EDITION})|SE|DC|VF|VOSTFR)[ ._,)\]-]*$"
)
LABEL_AT_END = re.compile(rf"(?<=[^\s._,-])[ ._,-]+(?:{_LABEL})$", _I)
RELEASED_AT_END = _rule("before release talk in however written; before a year these may be titles",
    rf"[ ._,-]+(?:{_LANGUAGE}|multi|vost|ita|eng|rus|nfofix|convert|doku|retail|ac3d|dual|ppv"
    r"|limited|internal|proper|custom|complete|int[eé]grale?|remaster|hq)[ ._,\[(-]*$", "film‹.german›",
    but=("johnny english",), flags=_I)
STEREOSCOPIC = re.compile(r"[ ._-]+3D[ ._-]*$")

# ---- 3. Extras beside a title.
CREDITLESS = _rule("credits without text",
    r"(?:[\s._]+-[\s._]+(?P<trailer>pv)"
    r"|[\s._]+-[\s._]+(?P<other>menu)(?=[ ._]?[0-9]{0,2}[ ._]*[\[(])"
    r"|[\s._\[(-]+nc(?:op|ed)|[\s._\[(-]+(?:creditless|clean|textless)[ ._-]?(?:op(?:ening)?|ed|ending)s?)"
    r"(?:[\s._-]*(?:ep)?[0-9]{1,2}[a-d]?(?:v[0-9])?)?(?![^\W_]).*$", "[Grp] Show‹ - NCOP1 [BD]›",
    "Show‹ - PV2›", "Show‹ - Creditless Ending 2›", but=("Show - Clean Slate",), flags=_I)
EXTRA_SUFFIX = _rule("what kind of extra a file is, at the end of its name",
    r"""(?:
    [-._ \[(](?P<trailer>(?i:trailer|teaser))
    | (?:[-._\[(]|(?<=[0-9)\]])[ ])(?P<sample>(?i:sample))
    | [-.](?P<featurette>(?i:featurette))
    | [-.](?P<behindthescenes>(?i:behindthescenes|makingof))
    | [-.](?P<deleted>(?i:deleted(?:scenes?)?))
    | -(?P<interview>interview)
    | -(?P<scene>scene)
    | -(?P<short>short)
    | -(?P<clip>clip)
    | -(?P<other>other|extra|bonus)
    )s?[ ._-]?[0-9]{0,2}[\])]?$""", "Film‹-trailer2›", "S02E03‹ sample›",
    but=("Film short", "The Sample", "Trailer Park Boys"), flags=_X)
EXTRA_WHOLE = re.compile(
    r"(?:(?P<trailer>(?:official[ ._-])?(?:trailer|teaser))|(?P<sample>sample)|(?P<theme>theme))"
    r"[ ._-]?[0-9]{0,2}|(?P<lead>sample)[-_.].+",
    _I,
)

# ---- 4. Folders.
SEASON_FOLDER = _rule("a folder that is a season's, by no word that a name of a file has for it",
    r"^[\s._\[(-]*(?:(?:(?:book|volume|livre|buch|libro)[ ._:\#-]*|[st][ ._-]?)(?P<word>[0-9]{1,4}|[ivx]+)"
    r"(?![^\W_])|第[ ]?(?P<cjk>[0-9]{1,2}|[一二三四五六七八九十])[ ]?部)", "‹T3›", "‹Livre V›", "‹第二部›",
    but=("Season 2", "Series M"), flags=_I)
SPECIALS_FOLDER = _rule("a folder of specials",
    r"^(?P<show>.*?[\s._([-]+)??(?:season[ ._-]*0+|s0+|specials?|spéciaux|specialer|extras? and specials"
    r"|ov?as?|oads?|onas?|sp|特典)[\])]?$", "‹Specials›", "‹Season 00›", "‹妄想研究会 OAD›", "‹Show (OVA)›",
    but=("Special Victims",), flags=_I)
DISC = _rule("a folder of a disc's structure, or of one of several discs",
    r"^(?:video_ts|audio_ts|hvdvd_ts|bdmv|stream|backup|certificate|(?:cd|dvd|bd|disc|disk|blu-?ray)"
    r"[ ._-]?(?P<number>[0-9]{1,2})(?P<more>[ ._-].*)?)$", "‹BDMV›", "‹Disc 2›", but=("Discovery",), flags=_I)
COUNTING_FOLDER = _rule("a folder that counts episodes",
    rf"^[\[(]?(?:(?:{EPISODE_WORD}|e|\#)[ ._]*)?(?P<first>[0-9]{{1,4}})[ ]?[-–~_][ ]?e?(?P<last>[0-9]{{1,4}})"
    r"[\])]?$", "‹01-03›", "‹Episodes 1-6›", but=("24-7-365", "Season 1-3"), flags=_I)
SORTING = _rule("a folder that sorts titles by letter, decade or when they were broadcast",
    r"^[\[(#]?(?:[a-zа-я]|[a-z0-9#][ ]?-[ ]?[a-z0-9]|0-9|(?:19|20)[0-9]0s"
    r"|(?:(?:winter|spring|summer|autumn|fall)[ ._-]?(?:19|20)[0-9]{2}))[)\]]?$", "‹2010s›", "‹Fall 2021›",
    but=("Summer",), flags=_I)
RANGE_AT_END = _rule("the episodes that a folder of fansubs holds",
    rf"(?<=[^\W])[\s._]+(?:-[\s._]+)?(?!\(?{YEAR}[-–]{YEAR})"
    rf"[\[(]?(?:(?:{EPISODE_WORD}|e|\#)[ ._]?)?[0-9]{{1,4}}(?:v[0-9])?[ ]?[-–~][ ]?e?[0-9]{{2,4}}(?:v[0-9])?"
    r"(?:[ ](?:fin|end|batch))?[\])]?(?:[ ]?\+[ ]?(?:ov?as?|oads?|specials?|sp|extras?))?(?=[\s._]*(?:[(\[]|$))",
    "Show‹ (01-12)›", "Ginga Yume‹ - 01-13› (BD Batch)", but=("Show 24-7", "Show 01-12 More"), flags=_I)
PACK_IN_FILMS = re.compile(r"(?<=[ ._])S[0-9]{2}(?=[ ._])")
FANSUB_EPISODE = _rule("an episode of fansubs, wherever it lies",
    r"^\[[^\[\]]+\].+[ _]-[ _][0-9]{2,4}(?:v[0-9])?(?=[ _]*(?:[\[(]|$))", "‹[Group] Show - 03› [1080p]",
    but=("Show - 03",))

# ---- 5. Season and episode by marks that need no context.
_TAIL = r"(?:[a-d](?![^\W_]))?(?:[ ._]?v[0-9](?![^\W_]))?"
_HALF = r"(?P<half>\.5(?=$|[ _\[(-]|\.[0-9]{3,4}p))?"
MARKED = (
    _rule("S01E02 and its kin",
        rf"{_NO}(?:s|sn|se|t)[ ._]?(?P<season>[0-9]{{1,4}})[ ._,/\[\]-]{{0,3}}"
        rf"(?:x?e|ep|xep?|x|cap|afl)(?![ ._]?#[0-9]\.[0-9])[ ._#-]{{0,2}}(?P<episode>{_UPTO5})(?![0-9]){_HALF}{_TAIL}",
        "show.‹s01e02›.720p", "show ‹s42 ep10718›", "show ‹se.3 afl.3› en 4", "show ‹t3 cap.04›",
        but=("x264e02", "show s01 extras")),
    _rule("1x02",
        rf"(?<![0-9x])(?P<season>[0-9]{{1,2}})(?:[xх×]|[ ._]?[xх×][ ._]?(?=[0-9]{{2}}))"
        rf"(?P<episode>(?!26[456])[0-9]{{2,3}}|(?<=[0-9]x)[0-9]{{5}}|[0-9](?=[ ]?-[ ]?(?:[0-9]{{1,2}})?x))(?![0-9])"
        rf"{_HALF}{_TAIL}", "show ‹1x02›", "show ‹3 x 04›", "show ‹42x10718›", but=("1x264", "1920x800", "4x4")),
    _rule("a season that is a year; with three digits behind, widths of pictures are none",
        rf"{_NO}(?P<season>(?:19|20)[0-9]{{2}})x"
        rf"(?P<episode>[0-9]{{2}}|(?<!19[0-2][0-9]x)(?<!2048x)[0-9]{{3}})(?:(?=x[0-9]{{2}})|{_END})",
        "quiz ‹2016x231›", "show ‹2013x15›", but=("film 1920x800", "2048x858")),
)
MORE_MARKED = _rule("another episode of the same file",
    rf"[ ._]{{0,2}}(?P<link>[-–~+&,]|and|to|a)?[ ._]{{0,2}}"
    rf"(?:s(?P<s>[0-9]{{1,4}})[ ._]?)?(?:(?P<n>[0-9]{{4}}|[0-9]{{1,2}})[xх]|ep?[ ._]?|x)(?!26[456])"
    rf"(?P<episode>{_UPTO5})(?![0-9]){_TAIL}", "‹-e02›", "‹ - 2013x16›", "‹_e02›", but=(" - 02",), flags=_I)
MORE_BARE = _rule("another number behind an episode",
    rf"(?:[-–~](?P<to>{_UPTO5})|(?:[ ]?[+&,][ ]?|[ ](?:{_AND})[ ]|_)(?P<and>{_UPTO5})"
    rf"|[ ](?:{_TO})[ ](?P<to_w>{_UPTO5})){_END}(?![.][0-9](?![0-9]{{2,3}}[pi]))"
    rf"|{_TAIL}[-–~](?P<to_v>[0-9]{{2,4}}){_END}", "s01e01‹-03›", "8x01‹_02›", "s3e3‹ en 4›",
    but=("s01e01 03",), flags=_I)
ABSOLUTE_BEFORE = _rule("the episode's absolute number before season and episode",
    r"(?:[\s._]+-[\s._]+(?:ep?[ ._]?|\#)?(?P<dashed>[0-9]{2,4})(?:-[0-9]{2,4})?(?:[\s._-]*[\[(]|[\s._]+-[\s._]+|[\s._]+)"
    r"|[\s._]+(?:ep?[ ._]?|\#)(?P<told>[0-9]{2,4})(?:-[0-9]{2,4})?[\s._-]*[\[(]?|[\s._]+(?P<plain>[0-9]{3,4})(?:-[0-9]{3,4})?[\s._-]*[\[(]?)$",
    "Show‹ - 14 (›", "Bleech‹.343.›", "Show‹ - 026 - ›", but=("Area 51 ", "Warehouse 13 - "), flags=_I)

# ---- 6. Days of daily shows.
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?"
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_GAP = r"[ ._,-]{1,3}"
_OF = r"(?P<year>(?:19|20)[0-9]{2})"
_WEEKDAY = rf"{_NO}(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?{_GAP})?"
DATES = (
    _rule("year, month, day",
        rf"(?<![0-9A-Za-z]){_OF}(?P<sep>[-._ /]?)(?P<month>0[1-9]|1[0-2])(?P=sep)"
        r"(?P<day>0[1-9]|[12][0-9]|3[01])(?![0-9])", "Show ‹2010-05-23›", "Show ‹20100523›",
        but=("Show 2010-13-23",)),
    _rule("in Chinese and Japanese", rf"(?<![0-9]){_OF}年(?P<month>[01]?[0-9])月(?P<day>[0-3]?[0-9])日",
        "番組 ‹2015年7月22日›"),
    _rule("day, month, year; month first where the day cannot be a month",
        rf"(?<![0-9A-Za-z])(?<![0-9][.])(?P<day>[0-3]?[0-9])(?P<sep>[-._ /])(?P<month>[0-3]?[0-9])(?P=sep)"
        rf"{_OF}{_END}", "Show ‹22.7.2015›", but=("v1.14.3.2012",)),
    _rule("day, month in words, year", rf"{_WEEKDAY}{_DAY}{_GAP}(?:of{_GAP})?{_MONTH}{_GAP}{_OF}{_END}",
        "Show ‹26th Feb 2009›", but=("Show 26th 2009",), flags=_I),
    _rule("month in words, day, year", rf"{_WEEKDAY}{_MONTH}{_GAP}{_DAY}{_GAP}{_OF}{_END}",
        "Show ‹Monday, March 14, 2012›", but=("March 2012",), flags=_I),
    _rule("year, month in words, day", rf"{_NO}{_OF}{_GAP}{_MONTH}{_GAP}{_DAY}{_END}", "Show ‹2012 Mar 14›",
        but=("2012 March",), flags=_I),
)
SHORT_DATE = _rule("two digits for the year, where nothing else counts; with dots before an hour only",
    rf"{_NO}(?P<year>[1-3][0-9])(?P<sep>\.)?(?P<month>0[1-9]|1[0-2])(?(sep)\.)"
    rf"(?P<day>0[1-9]|[12][0-9]|3[01])(?(sep)(?=_[0-2][0-9]-[0-5][0-9]_)|{_END})",
    "A_Late_Show_‹140722›_720p", "Show_‹14.07.22›_20-15_ard", but=("Show 14.07.22", "Show 141322"))
UNSURE_DAY = _rule("a day, of which no one can tell which number is the year's",
    r"(?<![0-9.])[0-3][0-9]\.[0-3][0-9]\.[0-3][0-9](?![0-9.])", "Show ‹14.07.22› Guests", but=("Show.2.14.07",))

# ---- 7. Season and episode in one number.
CHAPTER = _rule("Spanish releases: season and episode in one number",
    r"[\[(]cap(?:[ií]tulos?)?[. ]{0,2}(?P<first>[1-9][0-9]{2,3})"
    r"(?:(?:[-_]|[ ](?:al?|y)[ ])(?P<last>[1-9][0-9]{2,3}))?(?:[. ]final)?[\])]", "Show ‹[Cap.103]›", "Show ‹[Cap. 203_204]›",
    but=("Show [Cap.3]",), flags=_I)
SCENE = _rule("broadcast releases: `117`, `101.102` and `10708` right before where they were taken from",
    r"^[\w'&.-]*?[^\W\d_][\w'&.-]*?[._](?P<numbers>[1-9][0-9]{2,5}(?P<more>[._-][1-9][0-9]{2,3})*)[._]"
    r"(?:(?:720p|1080[pi]|ws|internal|proper|repack|real)[._])*(?:[hp]dtv|dsr(?:ip)?|tvrip|(?(more)(?:dvd|web|bd)rip|(?!)))(?![^\W_])",
    "‹show.name.117.hdtv›-lol", "‹the.bureau.101.102.hdtv›", "‹the_bureau.101.102.dvdrip›", but=("show.name.117.title.hdtv", "Show_Name_679_[720p]"), flags=_I)
BRACKET_PAIR = _rule("season and episode in brackets of their own",
    r"\[(?P<season>[0-9]{1,2})\.(?P<episode>[0-9]{2,3})(?:\]|(?=-[0-9]{2,3}\]))", "Show ‹[5.134]›", but=("Show [5.1]",))
PAIRS = (
    _rule("side by side in front",
        r"^[\s._\[(]*(?P<season>[0-9]{1,2})[-._](?P<episode>[0-9]{2,3})(?![0-9])(?=[\s._)\]-]|$)",
        "‹2-06› Title", but=("Show 2-06",)),
    _rule("side by side behind the title",
        r"(?:(?<=[^\W])[ ._-]|(?<=[ ]-[ ]))(?P<season>0[0-9](?=[._])|(?<=[.])0[1-9](?=[0-9]{2}[.])"
        r"|(?<=[ ])[1-9][0-9]?(?=[.][0-9]{2}[ ]-[ ]))"
        r"(?:[._]|(?<=[.][0-9]{2}))(?P<episode>[0-9]{2})(?![0-9])(?=[\s._)\]-]|$)", "Show‹_02.03›",
        "Show‹.0203›.Title", "Show‹ 2.03› - Title", but=("Show 2.0",)),
    _rule("two numbers too far apart for one file",
        r"(?<=[^\W_])[ ._](?P<season>[0-2][0-9])-(?P<episode>[0-9]{2})(?=[\s._]*$)", "Show‹ 03-20›",
        but=("Show 03-20 more",)),
)
CROSSED = _rule("one digit behind the cross, which ratios and titles have too",
    r"(?:^|(?<=[\s._\[(-]))(?!16x9|4x3)(?P<season>[0-9]{1,2})(?:[x×]|(?P<gap>[ ._])[x×](?P=gap))"
    r"(?P<episode>[0-9])(?![^\W_])", "Show - ‹1x3›", "Serie Uno ‹1 x 2›", but=("Show 16x9", "Show 1x03"),
    flags=_I)

# ---- 8. Season and episode in words.
_LIST = (
    rf"(?P<list>(?:(?:[-–~](?:ep?)?|[ ._]*(?:[&+,]|{_TO})[ ._,&]*|[ ._](?:{_AND})[ ._])"
    rf"[0-9]{{1,4}}{_END})*)"
)
SEASON_THEN_EPISODE = _rule("both numbers before their words",
    rf"{_NO}(?P<season>[0-9]{{1,2}})[ ._-]*(?:{SEASON_WORD})[ ._-]+"
    rf"(?P<episode>[0-9]{{1,4}})[ ._-]*(?:{EPISODE_WORD}){_END}(?![ ._]*[0-9]{{1,3}}{_END})",
    "шоу ‹2 сезон 3 серия›", but=("show season 2 episode 3",))
ORDINAL_SEASON = _rule("the season's number before its word",
    rf"""{_NO}(?:
    (?P<number>[0-9]{{1,2}})[ ]?(?:st|nd|rd|th|[aªº°^]|-?(?:й|я|го|ый|ий))
      (?:[ ]a[ ](?P<last>[0-9]{{1,2}})ª)?[ ._-]*(?:{SEASON_WORD})
    |(?P<word>first|second|third|fourth|fifth|sixth)[ ._-]season
    ){_END}|(?:第[ ]?|{_NO})(?P<cjk>[0-9]{{1,2}}|[一二三四五六七八九十])[ ]?[季期]""", "show ‹2nd season›",
    "show ‹1ª a 8ª temporada›", "show ‹第二季›", but=("2 seasons",), flags=_X)
SEASON = _rule("a season's word and number, or S and number",
    rf"(?:(?:the[ ._]+)?(?:complete|all)[ ._]+)?{_NO}"
    rf"(?:(?:(?P<plural>seasons|saisons|temporadas|stagioni|сезон[ыа]|sezon[iy])"
    rf"|{SEASON_WORD})[ ._:;№#(-]*s?|s|(?<=[ ._(-])(?-i:T)(?=[0-9]{{1,2}}"
    rf"(?:[ ._-]+(?:cap|ep)|[ ._)\]-]*(?:[\[(]|$|complet|web|hdtv|[0-9]+p|bluray))))"
    rf"(?P<number>0?[0-9]{{1,2}}|(?<!series[ ._]){YEAR}|(?-i:[IVX]{{1,5}})"
    rf"|one|two|three|four|five|six|seven|eight|nine|ten)(?:d[0-9]{{1,2}}(?:[-&+,][0-9]{{1,2}})*|v[0-9])?{_END}", "Show ‹Season 2› - 03",
    "Show ‹S2› - 07", "Show ‹Temporada 4› [Cap.408]", but=("Seasons of Love", "The Series 110", "Series 100 - 07"), flags=_I)
SEASON_AFTER = re.compile(rf"{_NO}(?P<number>[0-9]{{1,2}})[ ._-]*(?!seas|series)(?:{SEASON_WORD}){_END}")
SEASON_LIST = _rule("more seasons", r"(?:[ ._]*(?:[-–~:+&,/]+|to|and|à|bis|по)[ ._,&]*s?[0-9]{1,2}(?![^\W_]))+",
    "Seasons 1‹-5›", "S01‹-S07›", but=("Season 1 5",), flags=_I)
NEXT_SEASON = re.compile(r"[ ]([0-9]{1,2})(?![^\W_])")
EPISODE_OF_SEASON = _rule("an episode right behind a season's number",
    r"[ ._]*[-–][ ._]*(?!0(?![0-9]))([0-9]{1,4})(?:v[0-9])?(?![^\W_])(?![ ._]*[-–&,][ ._]*[0-9])", "Season 3‹ - 11›",
    "S2‹-07›", but=("S2 07",))
SEASON_PACK = re.compile(
    r"(?<![^\W_])(?:complete|seasons|int[eé]grale?|pack|box ?set|extras)(?![^\W_])", _I
)
EPISODE = _rule("an episode's word and number, E and number, or `3 of 6`",
    rf"""(?:
    {_NO}(?:{EPISODE_WORD})[ ._:№\#-]{{0,3}}
      (?P<number>{_UPTO5})(?P<half>\.[0-9](?![0-9]))?{_TAIL}{_LIST}
      (?:[ ._]?of[ ._]?[0-9]{{1,3}})?
    |{_NO}e(?P<e>[0-9]{{2,5}})(?P<ehalf>\.[0-9](?![0-9]))?{_TAIL}
      (?P<elist>(?:(?:[-–~]e?|[ ]?[-–~&+]?[ ]?e)[0-9]{{2,5}}{_END})*)
    |{_NO}(?P<before>[0-9]{{1,4}})(?:-?(?:я|й))?(?:[ ._]{{0,2}}|-)(?:{EPISODE_WORD})
      (?![ ._:\#-]{{1,3}}[0-9]{{1,3}}{_END})
    |(?:第[ ]?|제?[ ]?(?=[0-9]{{1,4}}[ ]?[화회]))(?P<cjk>[0-9]{{1,4}})[ ]?[話话集回화회]
    |\#(?P<hash>[0-9]{{1,4}}){_TAIL}(?P<hlist>(?:[-–~][0-9]{{1,4}}{_END})?)
    |{_NO}(?:cd|part|pt)?[ ._]?(?P<of>[0-9]{{1,3}})[ ._]?(?:of|iz|из|von)[ ._]?[0-9]{{1,3}}
    ){_END}""", "show ‹episode 3›",
    "show ‹afl. 5 en 6›", "шоу ‹11 серия›", "番組 ‹第03話›", "show ‹e01-e03›", "show ‹3of6›",
    but=("show epic 3", "show e3"), flags=_X)
HELD = _rule("how many of a season's episodes a release has so far",
    rf"{_NO}(?:серии|серий|серії)[ ._:]{{0,3}}(?P<held>[0-9]{{1,2}})[ ](?:из|з)[ ][0-9]{{1,3}}{_END}", "сезон 5 ‹серии: 5 из 20›",
    but=("серия 5 из 20", "серии 1-5 из 20"))
SEASON_DOT_EPISODE = _rule("season and episode behind one word",
    rf"{_NO}(?:episode|ep)[ ._]?(?P<mark>\#)?(?P<season>[1-9])\.(?P<episode>[0-9]{{2}}|(?(mark)[0-9]|(?!)))"
    rf"{_END}(?![.])", "show - ‹episode 1.22› - title", "show ‹ep #1.2›", but=("episode 1.5", "episode 5."))
SPECIAL = _rule("the number of a special",
    rf"{_NO}(?:sp|specials?|ov?as?|oads?|onas?)[\])]?[ ._\[-]*(?:ep(?:isode)?[ ._]*)?"
    rf"(?P<number>[0-9]{{1,2}})(?:v[0-9])?(?P<half>\.[0-9])?{_END}", "show - ‹sp01›", "show - ‹ova - 01›",
    "show ‹special 2›", "show ‹ova][01›", but=("show specialist 2", "nova 3"))
PART = _rule("a part of a mini-series",
    rf"{_NO}(?:part|pt|teil|partie|parte|часть|del|deel|night)[ ._-]?"
    rf"(?P<part>[0-9]{{1,2}}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten){_END}", "Show ‹Part Two›",
    "Show ‹Teil II›", but=("Party 2",), flags=_I)

EPISODE_PART = _rule("one of several files of an episode; with a space it may be its title",
    r"(?:^|[ ._-]+)(?:(?:cd|dis[ck])[ ._-]?|part|pt)(?P<part>[1-9])$", "S01E01‹ - CD2›", "S01E01‹-pt2›",
    but=("S01E01 - Part 2",), flags=_I)

# ---- 9. A number that stands alone, as in anime releases and in a season's folder.
_NUMBER = (
    r"(?P<first>[0-9]{1,5})(?P<half>\.[0-9](?![0-9]))?(?:[a-d](?![^\W_]))?(?:v[0-9]+)?"
    r"(?:(?:[-–~+&]|,[ ]?|[ ][-–~+&][ ](?=[0-9v]+[ ]?(?:[\[(\])】]|$)))(?P<between>(?:[0-9]{2,3}-){0,3})"
    r"(?P<last>[0-9]{1,4})(?:v[0-9]+)?(?![^\W_]))?"
)
ALONE = _rule("a name that is nothing but a number",
    rf"^[\s._\[(\#-]*(?:e|ep)?{_NUMBER}(?:[ ._(（-]*(?:end|final))?[\s._\[\]()）-]*$", "‹03v2›", "‹E03›",
    "‹03-04›", but=("03 Title",), flags=_I)
LEADING = _rule("a number in front",
    rf"^[\s._\[(\#]*(?:e|ep)?{_NUMBER}[\])]?(?=[\s._-])(?P<gap>[\s._-]+)(?=\S)", "‹03 - ›Title", "‹03. ›Title",
    but=("Title 03",), flags=_I)
LEADING_TWO = _rule("two numbers in front",
    r"^[\s._\[(\#]*(?P<first>[0-9]{1,3})[ ](?:[-–~+&]|and)[ ](?P<last>[0-9]{1,3})(?=[ ]-[ ])",
    "‹03 & 04› - Title", but=("03 & 04",))
BRACKETED_FIRST = re.compile(r"^\s*\[(?P<first>[0-9]{1,3})\][\s._-]+(?=[^\W\d_])")
LAST_DASHED = _rule("the number that ends a name; then one in front belongs to the title",
    rf"^(?!0[0-9]*[ ._])[0-9][^\[(]*[^\W\d_]{{3}}[^\[(]*[\s_]-[\s_]{_NUMBER}(?=[\s_]*(?:[\[(]|$))",
    "‹86 - Title - 03›", but=("02 - The Trap - 3",), flags=_I)
DASHED = _rule("a number behind a dash",
    rf"(?<=[\s_.])(?<!\([0-9]{{2}}[ ])(?<!\([0-9]{{3}}[ ])[-–‒—][\s_.]+\(?(?:s[0-9]{{1,2}}[ ]?-?[ ]?)?(?:ep?[ ._]?|\#)?"
    rf"{_NUMBER}\)?(?=[\s_.\[(]|$)", "Show ‹- 03› [720p]", but=("Show-03",), flags=_I)
CLOSED = re.compile(r"[\s_.]*(?:$|[\[(]|[-–‒—][\s_.])")
BRACKETED = _rule("a number in brackets", rf"[\[【({{][ .]*{_NUMBER}(?:[ ._-]*(?:end|fin|final))?[ .]*[\]】)}}]",
    "Show ‹[03]›", "Show ‹[12 END]›", but=("Show [03 x]",), flags=_I)
BEFORE_BRACKET = _rule("a number before brackets or the end",
    rf"(?<=[\s_.]){_NUMBER}(?:[ ._-]*(?:end|final))?(?=[\s_.]*(?:[\[(【]|$))",
    "Show ‹03› [720p]", but=("Show 03 name",), flags=_I)
INNER = _rule("a number between words", rf"(?<=[\s_.]){_NUMBER}(?=[\s_.-])", "Title ‹03› name",
    but=("Title03 x",), flags=_I)
SECOND_COPY = _rule("a number in brackets after another counts downloads", r"(?<=[ _][0-9]{2})[ _]?\([1-9]\)$",
    "Show 05‹ (1)›", but=("Show (1)",))
COUNT_OF_BATCH = _rule("the episodes of the batch that a file came with, beside the group",
    r"(?<=[\]_ ])[\[(](?:ep?s?[ ._]?)?[0-9]{1,4}[-–~][0-9]{1,4}(?:[ ]batch)?[\])]"
    r"(?=[ _]?\[?[^\W\d_]|[_ ]?\[[0-9]{1,4}\]|[_ ]-[_ ][0-9])"
    r"|^\[[0-9]{1,4}[-–~][0-9]{1,4}\](?=[ _]?[^\W\d_])", "[Wide Pace]‹[8-11]› Lime Town 01",
    "[Group][Show]‹[01-24]›[05]",
    but=("[Group] Show [01-12]",), flags=_I)

# ---- 10. Shows.
COUNTRY = _rule("a show's country; `us` in small letters only between dots, and not as an object",
    rf"(?<=[^\s._(-])(?:[\s._-]+(?:[\[(]({'|'.join(COUNTRIES)}|USA|U\.S\.)[\])]|(US|UK|AU|NZ|CA))"
    r"|(?<![._]is)(?<![._](?:of|to|by|on))(?<![._](?:for|and|all))(?<![._](?:with|like|from))"
    r"(?<![._]between)[._](us)|[._](uk))[\s._-]*$", "House of Cards‹ (US)›", "the.office‹.us›",
    but=("this.is.us", "kids like us"))
YEAR_FIRST = re.compile(rf"^[\s._-]*[(\[]({YEAR})[)\]]")
TRAILING_YEAR = _rule("a year that ends a show's name",
    rf"[\s._-]*[(\[{{]?\s*({YEAR})(?:\s*[-–—]\s*(?:{YEAR})?)?\s*[)\]}}]?[\s._-]*$", "Show‹ (2010)›",
    "Show‹ (2010–2015)›", but=("Show 2010 x",))
LEFTOVER = _rule("what says how much of a show there is",
    r"[\s._-]+(?:[(\[]?(?:the[\s._]+)?complet[ea](?:[\s._]+series)?[)\]]?|(?:tv[\s._])?mini-?series.*"
    r"|[(\[](?:tv[\s._-]?)?(?:mini[\s._-]?)?series[)\]]|[(\[]?batch[)\]]?|seasons?|eps?|int[eé]grale)[\s._-]*$",
    "Show‹ Complete Series›", "Show‹ (miniseries)›", "Show‹ Ep›", but=("Complete Show",), flags=_I)

# ---- 11. Films.
YEAR_IN_BRACKETS = (
    _rule("the year in brackets", rf"[(\[] *({YEAR}) *[)\]]", "Film ‹(1999)›", but=("Film 1999",)),
    _rule("a year among other words in brackets",
        rf"[(\[][^()\[\]]*?(?<![0-9])({YEAR})(?![0-9])[^()\[\]]*[)\]]", "Film ‹[BDRip, 1999]›",
        but=("Film (19990)",)),
)
BARE_YEAR = _rule("a year beside a title", rf"(?<![^\W_])({YEAR})(?:г(?:од)?)?(?![^\W_])", "Film.‹1999›.720p",
    but=("Film 19991",))
YEARS = _rule("the years of a collection",
    rf"(?<=[^\s._-])[\s._-]*[(\[]?(?<![^\W_])({YEAR}) ?[-–—] ?(?:({YEAR}){_END}|[0-9]{{2}}(?![^\W_-])|(?=[)\]]))",
    "Films‹ 1999-2003›", "Films‹ (1999-2003›)", but=("2046 - 2004 - 1080p",))
LEADING_YEAR = _rule("a year that only sorts: no other follows",
    rf"^(?:[(\[](?P<in>{YEAR})[)\]][\s._-]+|(?P<bare>{YEAR})(?: ?[-–] |\. ))(?=[^\W\d_])", "‹(1999) ›Film",
    "‹1993- ›Copper Peak", "‹1999 - ›Film", but=("[1922] (2017)", "2001 A Space Odyssey", "2046 - 2004"))
SORTED_IN_COLLECTION = re.compile(rf"^({YEAR})[ _](?=[^\W\d_])")
PLACE = _rule("where a film stands in its collection",
    r"^(?:\#?[0-9]{1,2}(?: - |\. )|\#[0-9]{1,2} |\([0-9]{1,2}\) ?|0[0-9][ _.](?!-)"
    r"|[0-9]{1,2}-(?=(?:the|an?|der|die|das|le|la|les|el|il)[ ._]))(?=[^\W\d_])", "‹02 - ›Film",
    "‹01_›Star.Trip", "‹3-›The Film", "‹#4 ›The Film", but=("12 Monkeys", "3-Iron", "007 - Gold"), flags=_I)
SURE_PLACE = re.compile(r"^0[0-9] - (?=[^\W\d_])")
VOLUME = re.compile(
    r"[\s_]+(?:-[\s_]+)?Vol(?:ume)?[ ._]*[0-9]+(?:v[0-9])?(?=[\s_\[(]*$|[\s_]*[&-])", _I
)
FILM_PART = _rule("one of several files of a film",
    r"(?:^|[ ._-]+)(?:cd|dvd(?![59])|dis[ck])[ ._-]?([1-9]|[a-d])(?:[ ._-]?of[ ._-]?[1-9])?(?![^\W_])"
    r"|(?:[._-]|[ ]-[ ])(?:part|pt)([1-9]|[a-d])$|[ ._]-[ ._](?:part|pt)([1-9])$"
    r"|(?<=[)\]])[ ._-]+(?:part|pt)[ ._-]?([1-9])$", "Film (1999)‹ - CD2›",
    "Film‹-part1›", "Film (1999)‹ - Part 2›", but=("Film Part 2", "Film - Part 2"), flags=_I)
WORDED_PART = _rule("a part with a space, which a title may have, too; the folder tells",
    r"[ ._-]+(?:part|pt)[ ._-]([1-9])$", "Film‹ - Part 2›", but=("Film - Part Two",), flags=_I)
VERSION = re.compile(r"^\s+-\s+\[?([^\[\]]+?)\]?\s*$")
COLLECTION = _rule("a folder of several films",
    r"(?<![^\W_])(?:collection|trilogy|quadrilogy|tetralogy|anthology|saga|box ?set|duology"
    r"|filmography|complete [0-9]+ movie.*)(?![^\W_])", "Film ‹Trilogy›", but=("Collector",), flags=_I)
COLLECTION_TAIL = re.compile(
    r"[\s._-]+(?:(?:complete[\s._-]+)?(?:[0-9]+[\s._-]+)?(?:movie[\s._-]+)?collection)\b.*$", _I
)

# ---- 12. Titles.
TWO_TITLES = _rule("another title of the same", r"(?:[\s._-]+[\[(]?|[\[(])(?:aka|a\.k\.a\.?)(?![^\W_])[\s._-]*",
    "El Faro‹ AKA ›The Lighthouse", "El Faro‹ (aka ›The Lighthouse)", but=("Akasha", "Bakaka x"), flags=_I)
EPISODES_IN_FILM = re.compile(r"[\s._]*\(eps?[ .]+[0-9]+-[0-9]+\).*$", _I)
TITLE_BRACKETS = re.compile(r"\[([^\[\]]*)\]|【([^【】]*)】|\(([^()]*)\)|\{([^{}]*)\}")
TRAILING_GROUPS = re.compile(r"(?<=[^\s._-])(?:[\s._-]*\[[^\[\]]*\])+[\s._-]*$")
INVERTED = _rule("an article behind the title", r"^(.{2,}?),\s*(The|An?|Le|La|Les|Der|Die|Das|El|Los|Il)$",
    "‹Matrix, The›", but=("Me, Myself",), flags=_I)
ALTERNATIVE = re.compile(r"(?<=[^\s._-])[\s._-]*\([^()]*\)?[\s._-]*$")
ENDS_IN_ACRONYM = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.){2,}[^\W\d_]$")
ARTICLE_AT_END = re.compile(r"(?:^|[\s._-]+)(?:the|an?)$", _I)
GOES_ON = re.compile(r"[\s._](?:or|and|of|the|with|not|&)$", _I)
STRAY_NUMBER = re.compile(r"^[0-9]{1,3} (?=\[[^\[\]]*\][ _])")
ACRONYM = _rule("letters with dots between are one word",
    r"(?<![^\W_])(?:[^\W\d_][. ]){2,}[^\W\d_]?(?![^\W_])\.?", "Agents.of.‹S.H.I.E.L.D.›Pilot",
    but=("Mr.Robot",))

# ---- 13. Names that say nothing.
HASH = _rule("a hash", r"\{?(?:trim\.)?(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?",
    "‹a8f5f167f44f4964e6c998dee827110c›", but=("deadbeef",), flags=_I)
MACHINE = _rule("what discs, cameras, phones and recorders number",
    r"""(?:
    vts[ _.-]?[0-9]+(?:[ _.-][0-9]+)? | video[ _.-]?ts | vr[ _-]?m(?:ovie|angr)
    | (?:img|dsc[nf]?|mvi|mov|vid|gopr|gp|g[hx]|dji|pxl|p|cimg|sam|hdv|c|mah|m2u|vlc(?:record)?)
      [ _-]?[0-9]{4,}.*
    | img_e[0-9]{4,}.*
    | (?:whatsapp|signal)[ -].* | screen[ -]?(?:recording|capture|cast)?[ ].*[0-9].*
    | [0-9]{5,}
    )""", "‹IMG_1234›",
    "‹VTS_01_1›", but=("Title 12",), flags=_I | _X)
NUMBERED = _rule("a plain word with a number",
    r"""(?:
    0[0-9]{1,}
    | (?:title|track|chapter|disc|disk|dvd|bd|cd|part|pt|clip|file|stream|scene|movie|video|film)
      [ _.-]?t?[0-9]{0,4}
    | (?:main[ _.-]?)?(?:feature|movie|film|video|main|untitled|unknown|output|out|new|test|temp|tmp
      |default|export|render|copy(?:[ ]of)?|rip|encode|encoded|capture|recording|playlist|content
      |media|sample|video[ _-]?playback|(?:my|home|family)[ _-]?(?:movie|video|film))
      [ _.-]?[0-9]*
    | new[ ](?:folder|project|video).*
    )""", "‹video1›",
    "‹title_t00›", "‹untitled›", but=("Nasty",), flags=_I | _X)
TIMESTAMP = _rule("when a recording began, to the minute; a recorder keeps it in the folder of its show",
    r"(?:19|20)[0-9]{2}([._-]?)[01][0-9]\1[0-3][0-9](?:[ ._T-]|[ ]at[ ]){1,3}"
    r"[0-2][0-9][.:_h-]?[0-5][0-9](?:[.:_m-]?[0-5][0-9])?s?", "‹20230714_183012›", but=("2023-07-14",),
    flags=_I)
UNNAMED_FOLDER = _rule("what systems call a folder until somebody names it, and cameras those on their cards",
    r"""(?:
    (?:(?:new|untitled)[ ]folder|neuer[ ]ordner|nouveau[ ]dossier|dossier[ ]sans[ ]titre
      |nueva[ ]carpeta|carpeta[ ]sin[ ]t[ií]tulo|nuova[ ]cartella|cartella[ ]senza[ ]titolo
      |nova[ ]pasta|pasta[ ]sem[ ]t[ií]tulo|nieuwe[ ]map|naamloze[ ]map|ny[ ]mapp?e?|uusi[ ]kansio
      |nowy[ ]folder|nov[áa][ ]složka|új[ ]mappa|yeni[ ]klas[öo]r|(?:новая|нова)[ ]папка
      |新建文件夹|新增資料夾|新しいフォルダー|새[ ]폴더)
      [ ]?\(?[0-9]{0,3}\)?
    | dcim
    | [1-9][0-9]{2}(?:_?pana|_?fuji|canon|apple|media|gopro|nikon|nc[a-z0-9]{3}|msdcf|olymp|andro)
    )""", "‹New folder (2)›",
    "‹100CANON›", but=("Folder",), flags=_I | _X)
COPY_OF = re.compile(r"^(?:copy(?:[ ]\([0-9]{1,2}\))?[ ]of|kopie[ ]von)[ ]", _I)
COPY_AT_END = re.compile(r"(?<=[^\s]) - (?:copy|kopie)(?: ?\([0-9]{1,2}\))?$", _I)
COPY = _rule("what a second copy of a file is called",
    rf"""{COPY_OF.pattern}
    | [ ._]*-?[ ._]*(?<![^\W_])\(?(?:copy|kopie|copie|copia)(?:[ ]?[0-9]{{1,2}})?\)?
      (?:[ ]?\([0-9]{{1,2}}\))?$
    | (?<=[^\s])[ ._]?\([0-9]{{1,2}}\)$""", "‹Copy of ›x",
    "x‹ - Copy›", "x‹ (1)›", but=("Copycat",), flags=_I | _X)
KEYBOARD_ROW = re.compile(
    r"^(?:qwert|asdf|sdfg|zxcv|xcvb|hjkl|lkjh|fdsa|poiu|mnbv|qazwsx|1234qwer|abcdef?g?)[a-z0-9]*$",
    _I,
)
ONE_LETTER = re.compile(r"([^\W\d_])\1{4,}", _I)
CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
# Pairs of letters that words of no language with Latin letters hold, but random typing does.
RARE_PAIRS = frozenset(
    """
    bq bx cj cv cx dx fq fv fx fz gq gv gx hq hx jb jc jf jg jh jk jl jm jp jq jr jv jw jx jz kq
    kv kx lq lx mq mx mz pq px pz qb qc qd qf qg qh qj qk ql qm qn qo qp qr qt qv qw qx qy qz sx
    vf vg vh vj vm vq vw vx wj wq wv wx wz xb xd xg xj xk xq xr xz yq zc zf zj zq zr zs zx
    """.split()
)
# Folders that sort titles and name none, by their letters and digits.
GENERIC = frozenset(
    """
    movies films videos tv series shows tvshows tvseries anime animes cartoon cartoons kids
    children documentary documentaries docs docu docus download downloads complete completed
    airing ongoing finished archive incoming new unsorted sorted misc other others various todo watched unwatched media library
    torrents usenet temp tmp desktop documents mymovies myvideos stuff backup backups usb usbdrive
    usbstick harddrive harddisk action adventure comedy drama horror thriller scifi fantasy romance
    western crime mystery animation classics foreign concerts music sport sports reality
    miniseries hd uhd 4k 3d dvd bluray bdrip 1080p 720p 2160p 480p english german french spanish
    italian japanese korean chinese hindi russian collection collections 0 09
    """.split()
)

# fmt: on


def is_year(value: int) -> bool:
    """Tell whether a number can be the year of a film or show."""
    return FIRST_YEAR <= value <= LAST_YEAR


CHINESE = "一二三四五六七八九十"
_NUMBER_WORDS = {
    word: value
    for words in (
        "i ii iii iv v vi vii viii ix x xi xii",
        "one two three four five six seven eight nine ten eleven twelve",
        "first second third fourth fifth sixth",
    )
    for value, word in enumerate(words.split(), start=1)
}


def small_number(text: str) -> int | None:
    """Read digits, a roman or Chinese numeral, or an English number word."""
    folded = text.casefold()
    if text.isdecimal():
        return int(text)
    return CHINESE.index(folded) + 1 if folded in CHINESE else _NUMBER_WORDS.get(folded)
