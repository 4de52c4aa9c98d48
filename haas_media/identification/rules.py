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


def rule(
    meaning: str, pattern: str, *examples: str, but: tuple[str, ...] = (), flags: int = 0
) -> re.Pattern[str]:
    """Add a rule to the table, and return its pattern."""
    compiled = re.compile(pattern, flags)
    TABLE.append(Rule(meaning, compiled, examples, but))
    return compiled


# Films older than the first are asked for in no catalogue. Films are announced before they come
# out, so next year's are to be expected in a library.
FIRST_YEAR, LAST_YEAR = 1870, datetime.datetime.now(tz=datetime.UTC).year + 1
YEAR = r"(?:18[7-9][0-9]|19[0-9]{2}|20[0-9]{2})"
START = r"(?<![^\W_])"
END = r"(?![^\W_])"

# ---- Vocabulary that several rules share.
SEASON_WORD = (
    r"seasons?|series|saisons?|staffeln?|temporad[ae]s?|temp?|stagion[ei]|сезон(?:[ыи]|а(?!й))?|sezon(?:[aiy]|as|ul)?"
    r"|sezóna|sez|séri[ea]|řada|seizoen(?:en)?|seiz|säsong(?:er)?|sæson|saeson|sesong|kausi|évad|évfolyam"
    r"|sorozat|hooaeg|musim|mùa|σεζόν|κύκλος|עונה|シーズン|시즌|الموسم|فصل|ฤดูกาล|सीज़न|tuotantokausi"
)
EPISODE_WORD = (
    r"episodes?|[eé]ps?|eipsode|folgen?|cap[ií]tulos?|cap[ií]tols?|cap|puntat[ae]|epis[oó]dios?|episodul|épisodes?|afl(?:evering(?:en)?)?"
    r"|сері[яії]|сери[яий]|сер|[эе]пизод[ыа]?|епізод|seri[jyi]?[ai]|serija|seri[ij]|sērija|ser|bölüm|bolum|avsnitt"
    r"|odcinek|odc|jakso|afsnit|epizoda?|epizód|chapter|chap|díl|č[aá]s[tť]|rész|επεισόδιο|פרק|الحلقة|قسمت|ตอน(?:ที่)?|tập|एपिसोड"
)
_TLDS = (
    "com|net|org|info|biz|ru|cc|ws|eu|nl|se|nu|mx|sx|es|de|fr|pl|pw|xyz|vip|pics|world|sbs|tel|"
    "club|site|online|lol|fun|top|live|one|space|host|cam|cx|ch|cz|br|hk|tw|cn|jp|kr|in|ag|la|"
    "city|day|to|tv|me|ms|unblockit|download|media|link|men|phd|li|fi|app|rs|gg"
)
_LABEL = (
    r"(?:extended|final|complete|director['’]?s?|theatrical|ultimate|redux|international|unrated|uncut|special"
    r"|despecialized|producer['’]?s|criterion|imax|collector['’]?s)[ ._-](?:cut|edition|version)"
    r"|[eé]dition[ ._-](?:collector|sp[eé]ciale|limit[eé]e)|version[ ._-](?:longue|restaur[eé]e)"
)
_EDITION = (
    rf"{_LABEL}|extended|criterion(?:[ ._-]collection)?|unrated|uncut|uncensored|remastered|imax"
    r"|open[ ._-]matte|theatrical|despecialized"
    r"|(?:[0-9]{2}th|anniversary)[ ._-](?:anniversary[ ._-])?edition"
)
_AND_MORE = r"(?:[ ]?\+[ ]?(?:ov?as?|oads?|specials?|sps?|extras?|movies?))*"
# Countries that people add to a show's name; bare ones only where that is usual.
COUNTRIES = (
    "US UK GB AU NZ CA IE ZA DE AT CH FR BE NL ES PT IT SE NO DK FI IS PL CZ HU RO GR TR RU UA IL"
    " IN JP KR CN TW HK TH PH BR MX AR CL CO"
).split()

# A rule reads as a row.
# fmt: off

# ---- 1. Tags and marks that are not the name's.
TAG = rule("the id of a database, in any brackets",
    r"[\[({]\s*(tmdb|themoviedb|imdb|tvdb|thetvdb)(?:[ _-]?id)?\s*[-=:_ ]\s*"
    r"(tt[0-9]{1,10}|[0-9]{1,10})\s*[\])}]", "Film ‹[tmdbid=603]›", but=("Film {603}",), flags=_I)
BARE_IMDB = rule("IMDb's id needs no mark", r"(?<![A-Za-z0-9])(tt[0-9]{7,9})(?![A-Za-z0-9])",
    "Film ‹tt0133093›", but=("Film tt01", "Att0133093"))
EDITION_TAG = rule("the edition, as Plex has it", r"\{\s*edition[-= ]\s*([^{}]+?)\s*\}",
    "Film (2000) ‹{edition-Final Cut}›", but=("Film {Final Cut}",), flags=_I)
ANY_TAG = re.compile(
    rf"\s*(?:(?<![^\W_]){BARE_IMDB.pattern}|(?=[\[({{])(?:{EDITION_TAG.pattern}|[\[({{]\s*{BARE_IMDB.pattern}\s*[\])}}]"
    r"|[\[({]\s*(?:tmdb|imdb|(?:the)?(?:movie|tv)db|anidb[2-4]?|anilist|tvmaze|tvrage|trakt|mal|kitsu)"
    r"(?:[ _-]?id)?\s*[-=:_ ][^\[\](){}]*[\])}]))", _I
)
CHECKSUM = rule("checksums of anime releases: eight hexadecimal digits in brackets", r"[\s._-]*[\[(][0-9A-Fa-f]{8}[\])]",
    "Show - 03‹ [ABCD1234]›", but=("Show [ABCDEFGH]",))
SLASH = rule("the end of a folder; between spaces it joins two titles", r"(?<! )/|/(?! )", "Show‹/›03",
    but=("Title / Titel",))
SLASH_IN_BRACKETS = rule("slashes within a bracket belong to the name",
    r"\[[^\[\]/]*(?:/[^\[\]/]*)+\]|【[^【】/]*(?:/[^【】/]*)+】"
    r"|(?<=[ ._])\([^()/]*(?:/[^()/]*)+\)", "Show ‹(S01/WEB)›", but=("Show (2024)/S01 (x)",))
SITE = rule("a site in front: in brackets, after www, or `domain - `; an ending that is also a word needs"
    " more (`Despicable.Me - 2010`)", rf"""\s*(?:
    [\[({{【]{{1,2}}\s*(?:ww+[. ])?[\w-]+(?:[. ][\w-]+)?\.[a-z]{{2,10}}\s*[\])}}】]{{1,2}}[\s._-]*
    | [^\W0-9_a-z]{{0,8}}ww+[.,][\w-]+?(?:\.[\w-]+?)?\.(?:(?:{_TLDS})[\s._-]+|[a-z]{{2}}[._-]+(?![a-z]{{2}}[\s_-])|[a-z]{{2,10}}\s+[\s-]*)
    | www[ ][\w-]+[ ](?:(?:co|com)[ ])?(?:{_TLDS})\s*[-–]+\s+
    | [\w-]+\.(?:com|net|org|info|biz|co\.[a-z]{{2}})(?:\s+[-–]+\s+|[_])
    | @\w+\s+[-–]+\s+(?=[^\W\d_])
    | [\w-]+\.(?:xyz|vip|pics|club|site|online|app|movies?|live|stream|(?!am|as|at|be|by|do|go|he|in|is|it|la|me|my|no|of
      |on|or|so|to|up|us|we)[a-z]{{2}})[\s_]+[-–]+[\s_]+(?=[^\W\d_])
    )""", "‹films123.ca - ›Film", "‹[ www.films.org ] - ›Film", "‹www.Films.sx - ›Film", "‹@films - ›Film",
    but=("Despicable.Me - 2010",), flags=_I | _X)
GROUP = rule("a release group in brackets in front",
    r"^[\s._-]*(?:\[[^\[\]]*\]|【[^【】]*】|\{[^{}]*\}|★[^★]*★|(?<=_)(?:UNPACK|FAILED)_|[\w-]+\.\[[^\[\]]*\](?=_))[\s._-]*",
    "‹[Group] ›Show - 03", but=("Show [Group]",))
RECORDED = rule("the day of a recording in front of a show with a number",
    r"^[\[(]?(?:(?:19|20)?[0-9]{2}[.-]?(?:0[1-9]|1[0-2])[.-]?(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[1-9]|[12][0-9]|3[01])([.-])(?:0[1-9]|1[0-2])\1(?:19|20)[0-9]{2})[\])]?"
    r"(?:[-_ ][0-2][0-9][0-5][0-9](?=[\s._-]))?[\s._-]+(?=[^\W_])",
    "‹221208 ›Show ep11", "‹20190421-2015 ›Show S11E04", but=("100000 Questions S01E02",))

# ---- 2. Words of a release, which no title holds: a name speaks of a title up to the first.
RELEASE = rule("release talk", rf"""{START}(?:
    [0-9]{{3,4}}[x×][0-9]{{3,4}} | [0-9]{{3,4}}[pi] | 1[0o]8[0o]p | [48]k
    | (?:u|ultra|full|f|q)[ .-]?hd(?:[ .-]?rip)? | sdtv | dolby[ ._-]?vision
    | www\.[\w-]+\.[a-z]{{2,6}}
    | blu[ .-]?ray | bd[ .-]?(?:rip|remux|r) | br[ .-]?rip | remux
    | (?:hd)?dvd[ .-]?(?:rip|scr|screener|[59r]) | hd[ .-]?dvd | (?:true)?hd[ .-]?rip
    | (?:bd|br|web|dvd|hdtv|hd)[ .-]?(?:rip)?mux
    | hd[ .-]?(?:tv[ .-]?rip|tv|cam|ts|tc) | (?:web|tv|cam|vhs|sat|dvb|ppv|vod|dsr?)[ .-]?rip
    | web[ ._-]?dl | web(?=[ .][xh][ .]?26) | pdtv
    | tele[ .-]?(?:sync|cine) | (?:ts[ .-]?)?screener | workprint
    | [xh][ .]?26[456] | hevc | avc | xvid | divx | av1 | vp9 | mpeg[ .-]?[24]
    | (?:8|10|12)[ -]?bits? | [0-9]{{2,3}}(?:\.[0-9]{{1,3}})?[ ]?fps
    | hi10p? | hdr(?:10)?(?:p|plus|\+)? | dovi
    | (?:3d[ .-])?(?:h(?:alf)?[ .-]?)(?:sbs|ou|tab) | 3d[ .-](?:sbs|ou|tab)
    | aac(?:[0-9x][0-9.]*)? | e?[ -]?ac-?3(?:[0-9.]+)? | dts(?:[ -]?(?:hd|x|es))?
    | true[ -]?hd | atmos | dd[p+]?a?[ .]?[257][ .][01] | flac(?:x?[0-9.]*)? | mp3
    | vostfr | vosta? | true ?french | sub ?french | sub ?forced | fast ?sub | multi[ .-]?subs?
    | dual[ ._-]?audio | (?:e|m|multi)-?subs | soft-?subs? | hard-?subs? | dubbed | subbed
    | audio[ .]latino | read ?nfo | repack | rarbg | yify | yts | ettv | eztv
    | (?:swe|nor|dan|fin|nl|eng|ger|ita|rus|pl)[ .-]?sub(?:s|bed)?
    ){END}""", "film.‹1080p›.bluray", "iron swan ‹ultrahd›", but=("ultra violet",), flags=_X)
LEADING_RELEASE = re.compile(rf"(?:{RELEASE.pattern}[\s._-]+)+(?=[^\W\d_])", _X)
ARTICLE = re.compile(
    r"[\W_]*(?:(?:the|an?|my|l[aeo]s?|une?|el|los|una|il|gli|der|die|das|eine?|de[nt]?|het|een|os?|as)"
    r"[\W_]+)?", _I
)
EDITION = rule("an edition", rf"{START}(?:{_EDITION}|hybrid){END}", "Film.2000.‹Extended.Cut›", "Film ‹IMAX›",
    but=("The Extender",), flags=_I)
# In capitals, as scene releases write them: the same word in small letters may belong to a title.
TRAILING = rule("words that are release talk only right before a year or release talk",
    rf"(?:^|[ ._,+\[\](){{}}-]+)(?:(?i:{_EDITION}|multi|german|truefrench|vost|vf[2fiq]?|[2-4]cds?"
    r"|subbed|dubbed|hd[ ]remaster|rerip)|LIMITED|LiMiTED|INTERNAL|iNTERNAL|PROPER|CUSTOM"
    r"|INTEGRALE?|COMPLETE|DUAL|HYBRID|FRENCH|ITALIAN|iTALiAN|SPANISH|HINDI|RUSSIAN|SWEDISH|DANISH"
    r"|NORWEGIAN|POLISH|DUTCH|TAMIL|TELUGU|KOREAN|JAPANESE|CHINESE|ENGLISH|ENG|ITA|DL|WEB|CAM|TS|TC"
    r"|DVD|BD|PAL|NTSC|VHS|PPV|HDR|HD|SD|DV|V[2-9]|HC|WS|NF|AMZN|STV|OM|SE|DC|HFR|QC|HQ|FHD|VO)"
    r"[ ._,\[\](){}-]*$", "Film‹.LIMITED›", "Film‹ unrated›", but=("Film.limited",))
EDITION_AT_END = re.compile(
    rf"(?:[ ._,-]+|[ ._]*[(\[])(?:(?i:{_EDITION})|SE|DC|VF|VOSTFR)[ ._,)\]-]*$"
)
LABEL_AT_END = re.compile(rf"(?<=[^\s._,-])[ ._,-]+(?:(?i:{_LABEL})|(?<=[a-z].)(?:[SU]?HD|SD|DVD|BD|VHS|WEB))$")
RELEASED_AT_END = rule("before release talk in however written; before a year these may be titles",
    r"[ ._,-]+(?:french|italian|spanish|german|hindi|russian|swedish|danish|polish|dutch|japanese|korean"
    r"|chinese|tamil|telugu|swissgerman|multi|vost|ita|eng|rus|nfofix|convert|doku|retail|ac3d|dual|ppv"
    r"|limited|internal|proper|custom|complete|int[eé]grale?|remaster|hq|dl|dubbed|subbed)[ ._,\[(-]*$", "film‹.german›",
    but=("johnny english",), flags=_I)
STEREOSCOPIC = re.compile(r"[ ._-]+3D[ ._-]*$")

# ---- 3. Extras beside a title.
CREDITLESS = rule("credits without text",
    r"(?:(?:[\s._]+-[\s._]+|(?<=[^\s._])[\s._]*\[)"
    r"(?:(?P<trailer>pv)|(?P<other>cm|menu|trailer|teaser|(?:web[ ._]?)?preview)(?=[ ._]?[0-9]{0,2}[ ._]*[\[(\]])"
    r"|(?<=[^\W\d_] - )(?:op(?:ening)?|ed|ending|cm)(?=[ ._]?[0-9]{1,2}[ ._]*(?:$|\[)))"
    r"|(?:^|[\s._\[(-]+)(?:s[0-9]{1,2})?"
    r"(?:nc[ ._-]?(?:op|ed)|(?:creditless|non[ ._-]?credit(?:ed)?|clean|textless)[ ._-]?(?:op(?:ening)?|ed|ending)s?))"
    r"(?:[\s._-]*(?:ep)?[0-9]{1,2}[a-d]?(?:v[0-9])?)?(?![^\W_]).*$", "[Grp] Show‹ - NCOP1 [BD]›",
    "Show‹ - PV2›", "Show‹ - Creditless Ending 2›", "Show‹ - Ending 2›", "‹NCED 02›", "[Grp] Show‹ [CM01][BD]›", but=("Show - Clean Slate", "Show - 05 - Ending 2", "[PV] Show - 03"), flags=_I)
EXTRA_SUFFIX = rule("what kind of extra a file is, at the end of its name", r"""(?:
    [-._ \[(](?P<trailer>(?i:trailer|teaser))
    | (?:[-._\[(]|(?<=[0-9)\]])[ ])(?P<sample>(?i:sample))
    | (?:[-.]|(?<=[)\]])[ ]-[ ])(?i:(?P<featurette>featurette)|(?P<behindthescenes>behind[ ]?the[ ]?scenes|making[ ]?of)
      |(?P<deleted>deleted(?:[ ]?scenes?)?))
    | (?:-|(?<=[)\]])[ ]-[ ])(?:(?P<interview>interview)|(?P<scene>scene)|(?P<short>short)|(?P<clip>clip)
      |(?P<other>other|extra|bonus|(?<=[ ])(?i:bonus|blooper|gag[ ]reel|outtake|extra)))
    )s?[ ._-]?[0-9]{0,2}[\])]?$""", "Film‹-trailer2›", "S02E03‹ sample›", "Film (1999)‹ - Making Of›", but=("Film short", "S02E03 - Bloopers"),
    flags=_X)
EXTRA_OF_SEASON = rule("extras of a season", r"[ ._-]+s(?:eason[ ._]?)?[0-9]{1,2}[ ._-]+(?P<other>extras?)(?![^\W_]).*$",
    "Show‹.S03.Extras.02.720p›", but=("Extras.S01E02", "Show.S03E02.Extras"), flags=_I)
EXTRA_WHOLE = rule("a name that is only the kind of an extra, or begins with `sample-`",
    r"^(?:(?P<trailer>(?:official[ ._-])?(?:trailer|teaser))|(?P<sample>sample(?:[-_.].+)?)|(?P<theme>theme)"
    r"|(?P<behindthescenes>making[ ._-]?of|behind[ ._-]the[ ._-]scenes)|(?P<deleted>deleted[ ._-]scenes?)|(?P<featurette>featurettes?)"
    r"|(?P<other>bloopers?|gag[ ._-]reel|outtakes?))[ ._-]?[0-9]{0,2}$", "‹Official Trailer›", "‹Making Of›", "‹sample-film›", but=("Sample Film",), flags=_I)

# ---- 4. Folders.
SEASON_FOLDER = rule("a folder that is a season's, by no word that a name of a file has for it",
    r"^[\s._\[(-]*(?:(?:(?:book|volume|livre|buch|libro|seria|sería|phần|þáttaröð)[ ._:\#-]*|[st](?:[ ._-]|(?=[0-9])))"
    r"(?P<word>[0-9]{1,4}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)"
    r"(?![^\W_])|第[ ]?(?P<cjk>[0-9]{1,2}|[一二三四五六七八九十])[ ]?部)", "‹T3›", "‹Livre V›", "‹第二部›",
    but=("Season 2", "Series M"), flags=_I)
SPECIALS_FOLDER = rule("a folder of specials",
    r"^(?!(?:the|an?)[ ._]special)(?P<show>.*?(?:[\s._([-]+|(?<=[぀-鿿])))??(?<![+&])(?<![+&] )(?:(?:ov?as?|oads?|onas?|specials?|sps?)[ ]?[+&][ ]?)*(?:(?:christmas|halloween|holiday|mini|tv|web)[ ._])?"
    r"(?:season[ ._-]*0+|s0+|specials?(?:[ _]+(?:&|and)[ _]+extras?)?|spéciaux|specialer|extras? (?:and|&) specials"
    r"|ov?as?|oads?|oavs?|onas?|sps?|especia(?:l|les|is)|speciali|specjalne|hors[ _-]?(?:saison|s[ée]rie)"
    r"|(?:bonus|extra|special)[ ._]episodes?|webisodes?|minisodes?|omake|спец(?:выпуски|эпизоды|серии)?|спешлы"
    r"|(?:映像)?特典|特[别別][篇編]|番外[篇編]?|[総总]集[編篇编])[\])]?(?:[\s._]*[\[(][^\[\]()]*[\])])*$", "‹Show (OVA)›", but=("Special Victims", "The Special", "Show + OVA"), flags=_I)
DISC = rule("a folder of a disc's structure, or of one of several discs",
    r"^(?:video_ts|audio_ts|hvdvd_ts|bdmv|stream|backup|certificate|(?:cd|dvd|bd|disc|disk|blu-?ray)"
    r"[ ._-]?(?P<number>[0-9]{1,2})(?P<more>[ ._-].*)?|(?:part|pt|d|vol|cour)[ ._-]{0,2}(?P<part>[1-9]))$", "‹BDMV›", "‹Disc 2›", but=("Discovery",), flags=_I)
COUNTING_FOLDER = rule("a folder that counts episodes",
    rf"^[\[(]?(?:(?:{EPISODE_WORD}|e|\#)[ ._]*)?第?(?P<first>[0-9]{{1,4}})[ ]?(?:[-–~_]|to)[ ]?e?"
    r"(?P<last>[0-9]{1,4})[集話话回]?[\])]?$", "‹01-03›", "‹Episodes 1-6›", but=("24-7-365", "Season 1-3"), flags=_I)
SORTING = rule("a folder that sorts titles by letter, decade or when they were broadcast",
    r"^[\[(#]?(?:[a-zа-я]|[a-z0-9#][ ]?-[ ]?[a-z0-9]|0-9|(?:19|20)[0-9]0s"
    r"|(?:(?:winter|spring|summer|autumn|fall)[ ._-]?(?:19|20)[0-9]{2}))[)\]]?$", "‹2010s›", "‹Fall 2021›",
    but=("Summer",), flags=_I)
RANGE_AT_END = rule("the episodes that a folder of fansubs holds",
    rf"(?<=[^\W])(?:[\s._]+(?:-[\s._]+)?|(?=[(\[]))(?!\(?{YEAR}[-–]{YEAR})"
    rf"(?:[\[(]?(?:(?:{EPISODE_WORD}|e|\#)[ ._]?)?[0-9]{{1,4}}(?:v[0-9])?[ ]?(?:[-–~]|to)[ ]?e?[0-9]{{2,4}}(?:v[0-9])?"
    rf"(?:[ ](?:fin|end|batch|complete|{EPISODE_WORD})|[集話话回])?[\])]?"
    rf"|[\[(](?:全[ ]?)?[0-9]{{1,4}}(?:[ ](?:{EPISODE_WORD})|[集話话回])[\])]|全[ ]?[0-9]{{1,4}}[集話话回]){_AND_MORE}[\])]?(?=[\s._]*(?:[(\[]|$))",
    "Show‹ (01-12)›", "Ginga Yume‹ - 01-13› (BD Batch)", but=("Show 24-7", "Show 01-12 More"), flags=_I)
PACK_IN_FILMS = re.compile(r"(?<=[ ._])S[0-9]{2}(?=[ ._])")
FANSUB_EPISODE = rule("an episode of fansubs, wherever it lies",
    r"^\[[^\[\]]+\].+[ _]-[ _][0-9]{2,4}(?:v[0-9])?(?=[ _]*(?:[\[(]|$))", "‹[Group] Show - 03› [1080p]",
    but=("Show - 03",))

# ---- 5. Shows.
COUNTRY = rule("a show's country; `us` in small letters only between dots, and not as an object",
    rf"(?<=[^\s._(-])(?<![\s._]of)(?:[\s._-]+(?:[\[(]({'|'.join(COUNTRIES)}|USA|U\.[SK]\.|us|uk)[\])]|(US|UK|AU|NZ|CA))"
    r"|(?<![._]is)(?<![._](?:of|to|by|on))(?<![._](?:for|and|all))(?<![._](?:with|like|from))"
    r"(?<![._]between)[._](us)|[._](uk))[\s._-]*$", "House of Cards‹ (US)›", "the.office‹.us›",
    but=("this.is.us", "kids like us", "The Last of US"))
YEAR_FIRST = re.compile(rf"^[\s._-]*[(\[]({YEAR})[)\]]")
TRAILING_YEAR = rule("a year that ends a show's name",
    rf"[\s._-]*[(\[{{]?\s*({YEAR})(?:\s*[-–—]\s*(?:{YEAR})?)?\s*[)\]}}]?[\s._-]*$", "Show‹ (2010)›",
    "Show‹ (2010–2015)›", but=("Show 2010 x",))
LEFTOVER = rule("what says how much of a show there is",
    r"[\s._-]+(?:[(\[]?(?:the[\s._]+)?complet[ea](?:[\s._]+series)?[)\]]?|(?:tv[\s._])?mini-?series.*"
    r"|[(\[](?:tv[\s._-]?)?(?:mini[\s._-]?)?series[)\]]|[(\[](?:vf[fiq]?|vo(?:st(?:fr)?)?|dub(?:bed)?|sub(?:bed)?|multi)[)\]]"
    rf"|(?=\+){_AND_MORE}|[(\[]?batch[)\]]?|(?<!final.)seasons?|eps?|int[eé]grale)[\s._-]*$",
    "Show‹ Complete Series›", "Show‹ (miniseries)›", "Show‹ Ep›", "Show‹ + OVA + Specials›", but=("Complete Show", "Show Final Season"), flags=_I)

# ---- 6. Films.
YEAR_IN_BRACKETS = rule("the year in brackets", rf"[(\[] *({YEAR}) *[)\]]", "Film ‹(1999)›", but=("Film 1999",))
YEAR_AMONG_WORDS = rule("a year among other words in brackets",
    rf"[(\[][^()\[\]]*?(?<![0-9])({YEAR})(?![0-9])[^()\[\]]*[)\]]", "Film ‹[BDRip, 1999]›", but=("Film (19990)",))
BARE_YEAR = rule("a year beside a title", rf"(?<![^\W_])({YEAR})(?:г(?:од)?)?(?![^\W_])", "Film.‹1999›.720p",
    but=("Film 19991",))
OF_TITLE = rule("a title that a year belongs to", r"[\s._](?:of|the|von|de|del)[\s._]+$", "Class‹ of ›", but=("Proof ",), flags=_I)
YEARS = rule("the years of a collection",
    rf"(?<=[^\s._-])[\s._-]*[(\[]?(?<![^\W_])({YEAR}) ?[-–—] ?(?:({YEAR}){END}|[0-9]{{2}}(?![^\W_-])|(?=[)\]]))",
    "Films‹ 1999-2003›", "Films‹ (1999-2003›)", but=("2046 - 2004 - 1080p",))
WORD_IN_BRACKETS = re.compile(r"\[[^\W\d_]+\](?! *[(\[])")
LEADING_YEAR = rule("a year that only sorts: no other follows",
    rf"^(?:[(\[](?P<in>{YEAR})[)\]][\s._-]+|(?P<bare>{YEAR})(?:[ _.]?[-–~][ _.]?|\. ))(?=[^\W\d_])", "‹(1999) ›Film",
    "‹1993- ›Copper Peak", "‹1999 - ›Film", but=("[1922] (2017)", "2001 A Space Odyssey", "2046 - 2004"))
PLACE_OF_YEAR = rule("where a film stands in its collection, before a year that sorts, too",
    rf"^(?:0[0-9]|[0-9]{{1,2}}\.)(?:[ ]-)?[ ](?=[(\[]?{YEAR}(?:[)\]]|[ ]?[-–]|\.)[ ][^\W\d_])", "‹1. ›1987 - Film",
    "‹01 ›(1987) Film", but=("12 - 2007 - DVDRip", "9 (2009) DVDRip"))
SORTED_IN_COLLECTION = re.compile(rf"^({YEAR})[ _](?=[^\W\d_])")
PLACE = rule("where a film stands in its collection",
    r"^(?:\#?(?:[0-9]{1,2}|0(?!07)[0-9]{2})(?: - |\. )|[0-9]{1,2}- |\#[0-9]{1,2} |\([0-9]{1,2}\) ?|0[0-9][ _.](?!-)"
    r"|[0-9]{1,2}-(?=(?:the|an?|der|die|das|le|la|les|el|il)[ ._]))(?=[^\W\d_])", "‹02 - ›Film",
    "‹01_›Star.Trip", "‹3-›The Film", "‹#4 ›The Film", but=("12 Monkeys", "3-Iron", "007 - Gold"), flags=_I)
SURE_PLACE = re.compile(r"^0(?:[0-9](?: - |\. )|[1-9][ ._])(?=[^\W\d_])")
VOLUME = re.compile(
    r"[\s_]+(?:-[\s_]+)?Vol(?:ume)?[ ._]*[0-9]+(?:v[0-9])?(?=[\s_\[(]*$|[\s_]*[&-])", _I
)
FILM_PART = rule("one of several files of a film",
    r"(?:^|[ ._-]+)[(\[]?(?:cd|dvd(?![59])|dis[ck])[ ._-]?([1-9]|[a-d])(?:[ ._-]?of[ ._-]?[1-9])?(?![^\W_])[)\]]?"
    r"|(?:[._-]|[ ]-[ ])(?:part|pt)([1-9]|[a-d])$|[ ._]-[ ._](?:part|pt)([1-9])$"
    r"|(?<=[)\]])[ ._-]+(?:part|pt|teil|partie|parte|часть)[ ._-]?([1-9]|[a-d]|one|two|three|i{1,3})(?=$|[ ]-[ ]|[ ._]*[(\[])"
    r"|(?<=[)\]])[ ._-]+[(\[]?([1-9])[ ._-]?of[ ._-]?[1-9][)\]]?$"
    r"|(?:^|[ ._-]+[(\[])(?:(?:part|pt)[ ._-]?([1-9])|([1-9])[ ._-]?of[ ._-]?[1-9])[)\]]?$", "Film (1999)‹ - CD2›",
    "Film‹-part1›", "Film (1999)‹ - Part 2›", "Film‹ (1 of 2)›", "‹part2›", but=("Film Part 2", "Film - Part 2"), flags=_I)
WORDED_PART = rule("a part with a space, which a title may have, too; the folder tells",
    r"[ ._-]+(?:part|pt)[ ._-]([1-9])$", "Film‹ - Part 2›", but=("Film - Part Two",), flags=_I)
VERSION = re.compile(r"^\s+-\s+\[?([^\[\]]+?)\]?\s*$")
COLLECTION = rule("a folder of several films",
    r"(?<![^\W_])(?:collection|trilogy|quadrilogy|tetralogy|anthology|saga|box ?set|duology"
    r"|filmography|complete [0-9]+ movie.*)(?![^\W_])", "Film ‹Trilogy›", but=("Collector",), flags=_I)
COLLECTION_TAIL = re.compile(
    r"[\s._-]+(?:(?:complete[\s._-]+)?(?:[0-9]+[\s._-]+)?(?:movie[\s._-]+)?collection)\b.*$", _I
)

# ---- 7. Titles.
TWO_TITLES = rule("another title of the same", r"(?:[\s._-]+[\[(]?|[\[(])(?:aka|a\.k\.a\.?|a[ ]k[ ]a)(?![^\W_])[\s._-]*",
    "El Faro‹ AKA ›The Lighthouse", "El Faro‹ (aka ›The Lighthouse)", but=("Akasha", "Bakaka x"), flags=_I)
EPISODES_IN_FILM = re.compile(r"[\s._]*\(eps?[ .]+[0-9]+-[0-9]+\).*$", _I)
TITLE_BRACKETS = re.compile(r"\[([^\[\]]*)\]|【([^【】]*)】|\(([^()]*)\)|\{([^{}]*)\}")
TRAILING_GROUPS = re.compile(r"(?<=[^\s._-])(?:[\s._-]*\[[^\[\]]*\])+[\s._-]*$")
INVERTED = rule("an article behind the title", r"^(.{2,}?),\s*(The|An?|Le|La|Les|Der|Die|Das|El|Los|Il)$",
    "‹Matrix, The›", but=("Me, Myself",), flags=_I)
ALTERNATIVE = re.compile(r"(?<=[^\s._-])[\s._-]*\([^()]*\)?[\s._-]*$")
ENDS_IN_ACRONYM = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.){2,}[^\W\d_]$")
ARTICLE_AT_END = re.compile(r"(?:^|[\s._-]+)(?:the|an?)$", _I)
GOES_ON = re.compile(r"[\s._](?:or|and|of|the|with|not|&)$", _I)
STRAY_NUMBER = re.compile(r"^[0-9]{1,3} (?=\[[^\[\]]*\][ _])")
ACRONYM = rule("letters with dots between are one word",
    r"(?<![^\W_])(?:[^\W\d_][. ]){2,}[^\W\d_]?(?![^\W_])\.?", "Agents.of.‹S.H.I.E.L.D.›Pilot",
    but=("Mr.Robot",))

# ---- 8. Names that say nothing.
MACHINE = rule("a hash, or what discs, cameras, phones and recorders number", r"""(?:
    \{?(?:trim\.)?(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?
    | vts[ _.-]?[0-9]+(?:[ _.-][0-9]+)? | video[ _.-]?ts | vr[ _-]?m(?:ovie|angr)
    | (?:img|dsc[nf]?|mvi|mov|vid|gopr|gp|g[hx]|dji|pxl|p|cimg|sam|hdv|c|mah|m2u|vlc(?:record)?)
      [ _-]?[0-9]{4,}.*
    | img_e[0-9]{4,}.*
    | (?:whatsapp|signal)[ -].* | (?:vlc-record|telegram-cloud)-.* | gmt[0-9]{8}-.* | zoom_[0-9]
    | (?:rpreplay_|fullsizerender|bildschirmaufnahme|screen[ ]?recording).* | screen[ -]?(?:recording|capture|cast)?[ ].*[0-9].*
    | [0-9]{5,}
    )""", "‹IMG_1234›", "‹a8f5f167f44f4964›", but=("Title 12", "deadbeef"), flags=_I | _X)
UNNAMED = rule("what systems and cameras call a folder until somebody names it, a plain word with a number, or"
    " when a recording began, to the minute; a recorder keeps it in the folder of its show",
    r"""(?:
    (?:(?:new|untitled)[ ]folder|neuer[ ]ordner|nouveau[ ]dossier|dossier[ ]sans[ ]titre
      |nueva[ ]carpeta|carpeta[ ]sin[ ]t[ií]tulo|nuova[ ]cartella|cartella[ ]senza[ ]titolo
      |nova[ ]pasta|pasta[ ]sem[ ]t[ií]tulo|nieuwe[ ]map|naamloze[ ]map|ny[ ]mapp?e?|uusi[ ]kansio
      |nowy[ ]folder|nov[áa][ ]složka|új[ ]mappa|yeni[ ]klas[öo]r|(?:новая|нова)[ ]папка
      |新建文件夹|新增資料夾|新しいフォルダー|새[ ]폴더)
      [ ]?\(?[0-9]{0,3}\)?
    | dcim
    | [1-9][0-9]{2}(?:_?pana|_?fuji|canon|apple|media|gopro|nikon|nc[a-z0-9]{3}|msdcf|olymp|andro)
    | 0[0-9]{1,}
    | (?:title|track|chapter|disc|disk|dvd|bd|cd|part|pt|clip|file|stream|scene|movie|video|film)
      [ _.-]?t?[0-9]{0,4}
    | (?:main[ _.-]?)?(?:feature|movie|film|video|main|untitled|unknown|output|out|new|test|temp|tmp
      |default|export|render|copy(?:[ ]of)?|rip|encode|encoded|capture|recording|playlist|content
      |media|sample|video[ _-]?playback|(?:my|home|family)[ _-]?(?:movie|video|film))
      [ _.-]?[0-9]*
    | (?:new|untitled)[ ](?:folder|project|video|recording).* | sequence[ ][0-9]{2}
    | (?:19|20)[0-9]{2}([._-]?)[01][0-9]\1[0-3][0-9](?:[ ._T-]|[ ]at[ ]){1,3}
      [0-2][0-9][.:_h-]?[0-5][0-9](?:[.:_m-]?[0-5][0-9])?s?
    )""", "‹video1›", "‹20230714_183012›", "‹New folder (2)›", but=("Nasty", "Folder"), flags=_I | _X)
COPY_OF = re.compile(r"^(?:copy(?:[ ]\([0-9]{1,2}\))?[ ]of|kopie[ ]von)[ ]", _I)
COPY_AT_END = re.compile(r"(?<=[^\s]) - (?:copy|kopie)(?: ?\([0-9]{1,2}\))?$", _I)
COPY = rule("what a second copy of a file is called", rf"""{COPY_OF.pattern}
    | [ ._]*-?[ ._]*(?<![^\W_])\(?(?:copy|kopie|copie|copia)(?:[ ]?[0-9]{{1,2}})?\)?
      (?:[ ]?\([0-9]{{1,2}}\))?$
    | (?<=[^\s])[ ._]?\([0-9]{{1,2}}\)$""", "x‹ - Copy›", but=("Copycat",), flags=_I | _X)
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
    movies films filme фильмы 劇場版 剧场版 videos tv series shows tvshows tvseries anime animes cartoon cartoons kids
    children documentary documentaries docs docu docus download downloads complete completed
    airing ongoing finished archive subs subtitles incoming new unsorted sorted misc other others various todo watched unwatched media library
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


_ORDINALS = (
    "first second third fourth fifth sixth",
    "erste zweite dritte vierte fünfte sechste",
    "première deuxième troisième quatrième cinquième sixième",
    "primera segunda tercera cuarta quinta sexta",
    "primeira segunda terceira quarta quinta sexta",
    "prima seconda terza quarta quinta sesta",
)
ORDINAL = "|".join(dict.fromkeys(" ".join(_ORDINALS).split()))
_NUMBER_WORDS = {
    word: value
    for words in (
        "i ii iii iv v vi vii viii ix x xi xii",
        "one two three four five six seven eight nine ten eleven twelve",
        *_ORDINALS,
        "a b c d",
        "一 二 三 四 五 六 七 八 九 十",
    )
    for value, word in enumerate(words.split(), start=1)
}


def small_number(text: str) -> int | None:
    """Read digits, a roman or Chinese numeral, an English number word, or a letter that counts."""
    tens, ten, ones = text.partition("十")
    if ten:
        # 二十三: two tens and three
        return 10 * _NUMBER_WORDS.get(tens, 1) + _NUMBER_WORDS.get(ones, 0)
    return int(text) if text.isdecimal() else _NUMBER_WORDS.get(text.casefold())
