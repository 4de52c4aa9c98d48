"""Patterns of what tells an episode: marks, days, words and numbers, in the order they are asked."""

from __future__ import annotations

import re

from haas_media.identification.rules import (
    END,
    EPISODE_WORD,
    ORDINAL,
    SEASON_WORD,
    START,
    YEAR,
    rule,
)

_I = re.IGNORECASE
_X = re.VERBOSE

_AND = r"and|en|et|und|och|og|ja|e|y|i|и"
TO_WORDS = ("-", "–", "~", ":", "to", "bis", "à", "по", "al", "a", "t-m", "t/m", "tot")
_TO = r"to|a|al|à|bis|по|tot|t[-/]m"
_UPTO5 = r"[0-9]{1,5}"
_CJK = "[一二三四五六七八九十]"

# fmt: off

# ---- 1. Season and episode by marks that need no context.
_TAIL = r"(?:[a-d](?![^\W_]))?(?:[ ._]?v[0-9](?![^\W_]))?"
_HALF = r"(?P<half>\.5(?=$|[ _\[(-]|\.[0-9]{3,4}p))?"
MARKED = (
    rule("S01E02 and its kin",
        rf"{START}(?:s|sn|se|t|season(?=[0-9]{{1,2}}episode))[ ._]?(?P<season>[0-9]{{1,4}})[ ._,/\[\]-]{{0,3}}"
        rf"(?:x?e|ep|xep?|x|cap|afl|(?<=[0-9])episode)(?![ ._]?#[0-9]\.[0-9])[ ._#-]{{0,2}}(?P<episode>{_UPTO5})(?![0-9]){_HALF}{_TAIL}",
        "show.‹s01e02›.720p", "show ‹s42 ep10718›", "show ‹t3 cap.04›", but=("x264e02",)),
    rule("1x02",
        rf"(?<![0-9x])(?P<season>[0-9]{{1,2}})(?:[xх×]|[ ._]?[xх×][ ._]?(?=[0-9]{{2}}))"
        rf"(?P<episode>(?!26[456])[0-9]{{2,3}}|(?<=[0-9]x)[0-9]{{5}}|[0-9](?=[ ]?-[ ]?(?:[0-9]{{1,2}})?x))(?![0-9])"
        rf"{_HALF}{_TAIL}", "show ‹1x02›", "show ‹3 x 04›", "show ‹42x10718›", but=("1x264", "1920x800", "4x4")),
    rule("a season that is a year; with three digits behind, widths of pictures are none",
        rf"{START}(?P<season>(?:19|20)[0-9]{{2}})(?:x|[ ]x[ ](?=[0-9]{{2}}(?![0-9])))"
        rf"(?P<episode>[0-9]{{2}}|(?<!19[0-2][0-9]x)(?<!2048x)[0-9]{{3}})(?:(?=x[0-9]{{2}})|{END})",
        "quiz ‹2016x231›", "show ‹2013x15›", but=("film 1920x800", "2048x858")),
)
MORE_MARKED = rule("another episode of the same file",
    rf"(?P<closed>[)\]])?[ ._]{{0,2}}(?P<link>[-–—~+&,]|and|to|a)?[ ._]{{0,2}}(?(closed)[(\[](?=s?[0-9]{{1,4}}[xe]))"
    rf"(?:s(?P<s>[0-9]{{1,4}})[ ._]?)?(?:(?P<n>[0-9]{{4}}|[0-9]{{1,2}})[xх]|ep?[ ._]?|x)(?!26[456])"
    rf"(?P<episode>{_UPTO5})(?![0-9]){_TAIL}", "‹-e02›", "‹ - 2013x16›", "‹_e02›", but=(" - 02",), flags=_I)
MORE_BARE = rule("another number behind an episode",
    rf"(?:[-–~](?P<to>{_UPTO5})|(?:[ ]?[+&,][ ]?|[ ](?:{_AND})[ ]|_)(?P<and>{_UPTO5})"
    rf"|[ ](?:{_TO})[ ](?P<to_w>{_UPTO5})){END}(?![.][0-9](?![0-9]{{2,3}}[pi]))"
    rf"|{_TAIL}[-–~](?P<to_v>[0-9]{{2,4}}){END}", "s01e01‹-03›", but=("s01e01 03",), flags=_I)
ABSOLUTE_BEFORE = rule("the episode's absolute number before season and episode",
    r"(?:[\s._]+-[\s._]+(?:ep?[ ._]?|\#)?(?P<dashed>[0-9]{2,4})(?:-[0-9]{2,4})?(?:[\s._-]*[\[(]|[\s._]+-[\s._]+|[\s._]+)"
    r"|[\s._]+(?:ep?[ ._]?|\#)(?P<told>[0-9]{2,4})(?:-[0-9]{2,4})?[\s._-]*[\[(]?|[\s._]+(?P<plain>[0-9]{3,4})(?:-[0-9]{3,4})?[\s._-]*[\[(]?)$",
    "Show‹ - 14 (›", "Bleech‹.343.›", "Show‹ - 026 - ›", but=("Area 51 ", "Warehouse 13 - "), flags=_I)

BEFORE_DAY = rule("an episode's number, or the word that goes with a day, between a show and its day",
    r"(?:(?<=[^\W\d_]) - [0-9]{3,5} - |[ ._-]+(?:vom|du|от)[ ._]+)$",
    "Show‹ - 10718 - ›", "Show‹ vom ›", but=("Studio 54 - ", "Show - 24 - "), flags=_I)

# ---- 2. Days of daily shows.
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?"
# Of other languages behind a day only: `mars` and `mai` begin titles, too.
MONTHS = (
    ("jan(?:uary)?", "januari?|janvier|janeiro|gennaio|enero"),
    ("feb(?:ruary)?", "februari?|f[ée]vrier|fevereiro|febbraio|febrero"),
    ("mar(?:ch)?", "märz|maart|mars|março|marzo"),
    ("apr(?:il)?", "aprile|avril|abril"),
    ("may", "mai|mei|mayo|maio|maggio"),
    ("june?", "juni|juin|junio|junho|giugno"),
    ("july?", "juli|juillet|julio|julho|luglio"),
    ("aug(?:ust)?", "augustus|ao[ûu]t|agosto"),
    ("sept?(?:ember)?", "septembre|septiembre|setembro|settembre"),
    ("oct(?:ober)?", "okt(?:ober)?|octobre|octubre|outubro|ottobre"),
    ("nov(?:ember)?", "novembre|noviembre|novembro"),
    ("dec(?:ember)?", "dez(?:ember|embro)?|d[ée]cembre|diciembre|dicembre"),
)
_MONTH = rf"(?P<month>{'|'.join(english for english, _ in MONTHS)})"
_ANY_MONTH = rf"(?P<month>{'|'.join(f'{english}|{others}' for english, others in MONTHS)})"
_GAP = r"[ ._,-]{1,3}"
_OF = r"(?P<year>(?:19|20)[0-9]{2})"
_WEEKDAY = rf"{START}(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?{_GAP})?"
DATES = (
    rule("year, month, day",
        rf"(?<![0-9A-Za-z]){_OF}(?P<sep>[-._ /]?)(?P<month>0[1-9]|1[0-2])(?P=sep)"
        r"(?P<day>0[1-9]|[12][0-9]|3[01])(?![0-9])", "Show ‹2010-05-23›", "Show ‹20100523›",
        but=("Show 2010-13-23",)),
    rule("year, day, month, where the day cannot be a month", rf"(?<![0-9A-Za-z]){_OF}(?P<sep>[-._ ])(?P<month>1[3-9]|2[0-9]|3[01])(?P=sep)"
        r"(?P<day>0[1-9]|1[0-2])(?![0-9])", "Show ‹2010.23.05›", but=("Show 2010-13-23",)),
    rule("in Chinese and Japanese", rf"(?<![0-9]){_OF}年(?P<month>[01]?[0-9])月(?P<day>[0-3]?[0-9])日",
        "番組 ‹2015年7月22日›", but=("番組 2015年7月",)),
    rule("day, month, year; month first where the day cannot be a month",
        rf"(?<![0-9A-Za-z])(?<![0-9][.])(?P<day>[0-3]?[0-9])(?P<sep>[-._ /])(?P<month>[0-3]?[0-9])(?P=sep)"
        rf"{_OF}{END}", "Show ‹22.7.2015›", but=("v1.14.3.2012",)),
    rule("day, month in words, year", rf"{_WEEKDAY}{_DAY}{_GAP}(?:(?:of|de){_GAP})?{_ANY_MONTH}{_GAP}(?:de{_GAP})?{_OF}{END}",
        "Show ‹26th Feb 2009›", "Show vom ‹6. Mai 2009›", "Show ‹6 de mayo de 2009›", but=("Show 26th 2009",), flags=_I),
    rule("month in words, day, year", rf"{_WEEKDAY}{_MONTH}{_GAP}{_DAY}{_GAP}{_OF}{END}",
        "Show ‹Monday, March 14, 2012›", but=("March 2012",), flags=_I),
    rule("year, month in words, day", rf"{START}{_OF}{_GAP}{_MONTH}{_GAP}{_DAY}{END}", "Show ‹2012 Mar 14›",
        but=("2012 March",), flags=_I),
)
SHORT_DATE = rule("two digits for the year, where nothing else counts; with dots before an hour only",
    rf"{START}(?P<year>[1-3][0-9])(?P<sep>\.)?(?P<month>0[1-9]|1[0-2])(?(sep)\.)"
    rf"(?P<day>0[1-9]|[12][0-9]|3[01])(?(sep)(?=_[0-2][0-9]-[0-5][0-9]_)|{END})",
    "A_Late_Show_‹140722›_720p", "Show_‹14.07.22›_20-15_ard", but=("Show 14.07.22", "Show 141322"))
UNSURE_DAY = rule("a day, of which no one can tell which number is the year's",
    r"(?<![0-9])(?<![0-9]\.)[0-3][0-9]\.[0-3][0-9]\.[0-3][0-9](?!\.?[0-9])", "Show ‹14.07.22› Guests", but=("Show.2.14.07",))

HOUR = rule("when a recording began, behind its day", r"^[-_ T]*[0-9]{1,2}時[0-9]{1,2}分(?:[0-9]{1,2}秒)?-?|^[-_ T]+(?:[0-2][0-9][0-5][0-9](?=[ _]+[-–])"
    r"|[0-2][0-9](?:[-.:h][0-5][0-9](?:[-.:m][0-5][0-9])?|[0-5][0-9][0-5][0-9])(?=[ _-]))", "‹ 2015› - Show", "‹_201500›_Show",
    but=(" 2015 Show",))

# ---- 3. Season and episode in one number.
CHAPTER = rule("Spanish releases: season and episode in one number",
    r"[\[(]cap(?:[ií]tulo)?s?[. ]{0,2}(?P<first>[1-9][0-9]{2,3})"
    r"(?:(?:[-_][1-9][0-9]{2,3})*?(?:[-_]|[ ](?:al?|y)[ ])(?P<last>[1-9][0-9]{2,3}))?(?:[. ]final)?[\])]", "Show ‹[Cap.103]›", "Show ‹[Cap. 203_204]›",
    but=("Show [Cap.3]",), flags=_I)
SCENE = rule("broadcast releases: `117`, `101.102` and `10708` right before where they were taken from",
    r"^(?:[\w'&.-]*?[^\W\d_][\w'&.-]*?|[0-9]{2})[._](?P<numbers>[1-9][0-9]{2,5}(?P<more>[._-][1-9][0-9]{2,3})*)[._]"
    r"(?:(?:720p|1080[pi]|ws|internal|proper|repack|real)[._])*(?:[hp]dtv|dsr(?:ip)?|tvrip|(?(more)(?:dvd|web|bd)rip|(?!)))(?![^\W_])",
    "‹show.name.117.hdtv›-lol", "‹the.bureau.101.102.hdtv›", "‹the_bureau.101.102.dvdrip›", but=("show.name.117.title.hdtv", "Show_Name_679_[720p]"), flags=_I)
SCENE_PAIR = rule("several of them that follow each other, wherever they stand",
    r"(?<=[ ._])(?P<numbers>[1-9][0-9]{2}(?P<more>[. ][1-9][0-9]{2})+)(?=[ ._]|$)", "Show.Name.‹311.312›", "Show ‹311 312›", but=("Show 311",))
BRACKET_PAIR = rule("season and episode in brackets of their own",
    r"\[(?P<season>[0-9]{1,2})\.(?P<episode>[0-9]{2,3})(?:\]|(?=-[0-9]{2,3}\]))", "Show ‹[5.134]›", but=("Show [5.1]",))
PAIRS = (
    rule("side by side in front",
        r"^[\s._\[(]*(?P<season>[0-9]{1,2})[-._](?P<episode>[0-9]{2,3})(?![0-9])(?=[\s._)\]-]|$)",
        "‹2-06› Title", but=("Show 2-06",)),
    rule("side by side behind the title",
        r"(?:(?<=[^\W])[ ._-]|(?<=[ ]-[ ]))(?P<season>0[0-9](?=[._])|(?<=[.])0[1-9](?=[0-9]{2}[.])"
        r"|(?<=[ ])[1-9][0-9]?(?=[.][0-9]{2}[ ]-[ ])|(?<=[ ])[1-9](?=-0[1-9](?![0-9-])))"
        r"(?:[._]|(?<=[.][0-9]{2})|(?<=[ ][1-9])-)(?P<episode>[0-9]{2})(?![0-9])(?=[\s._)\]-]|$)", "Show‹_02.03›",
        "Show‹.0203›.Title", "Show‹ 2.03› - Title", "Show - ‹2-06› - Title", but=("Show 2.0", "Show - 2-12")),
    rule("two numbers too far apart for one file",
        r"(?<=[^\W_])[ ._](?P<season>[0-2][0-9])-(?P<episode>[0-9]{2})(?=[\s._]*$)", "Show‹ 03-20›",
        but=("Show 03-20 more",)),
)
CROSSED = rule("one digit behind the cross, which ratios and titles have too",
    r"(?:^|(?<=[\s._\[(-]))(?!16x9|4x3)(?P<season>(?:19|20)[0-9]{2}|[0-9]{1,2})(?:[xх×]|(?P<gap>[ ._])[xх×](?P=gap))"
    r"(?P<episode>[0-9])(?![^\W_])", "Show - ‹1x3›", "Serie ‹1 x 2›", but=("Show 16x9",), flags=_I)

# ---- 4. Season and episode in words.
_PART = "part|pt|teil|partie|parte|часть|del|deel|osa"
_LIST = (
    rf"(?P<list>(?:(?:[-–~](?:ep?)?|[ ._]*(?:[&+,]|{_TO})[ ._,&]*|[ ._](?:{_AND})[ ._])"
    rf"[0-9]{{1,5}}{END})*)"
)
SEASON_THEN_EPISODE = rule("both numbers before their words",
    rf"{START}(?P<season>[0-9]{{1,2}})[ ._-]*(?:{SEASON_WORD})[ ._-]+"
    rf"(?:(?P<from>[0-9]{{1,4}})[-–])?(?P<episode>[0-9]{{1,4}})[ ._-]*(?:{EPISODE_WORD}){END}(?![ ._]*[0-9]{{1,3}}{END})",
    "шоу ‹2 сезон 3 серия›", but=("show season 2 episode 3",))
ORDINAL_SEASON = rule("the season's number before its word",
    rf"""{START}(?:
    (?P<number>[0-9]{{1,2}})[ ]?(?:st|nd|rd|th|[aªº°^]|(?<=[0-9])(?:ème|eme|[eè]re|e|de|ste)|-?(?:й|я|го|ый|ий))
      (?:[ ]a[ ](?P<last>[0-9]{{1,2}})ª)?[ ._-]*(?:{SEASON_WORD})
    |(?P<word>{ORDINAL})[ ._-](?:{SEASON_WORD})
    ){END}|(?:第[ ]?|{START})(?P<cjk>[0-9]{{1,2}}|[一二三四五六七八九十])[ ]?[季期]""", "show ‹2nd season›",
    "show ‹1ª a 8ª temporada›", "show ‹第二季›", "show ‹2e saison›", but=("2 seasons",), flags=_X)
SEASON = rule("a season's word and number, or S and number",
    rf"(?:(?:the[ ._]+)?(?:complete|all)[ ._]+)?{START}"
    rf"(?!(?<=[0-9][ ])\w+:)(?!(?<=final[ ._])seasons?[\s._)]*-)(?:(?:(?P<plural>seasons|saisons|temporadas|stagioni|сезон[ыа]|sezon[iy])"
    rf"|{SEASON_WORD})[ ._:;№#(-]*s?|s|(?<=[ ._(\[-])(?-i:T)(?=[0-9]{{1,2}}"
    rf"(?:[ ._-]+(?:cap|ep)|[ ._)\]-]*(?:[\[(]|$|complet|web|hdtv|[0-9]+p|bluray))))"
    rf"(?P<number>0?[0-9]{{1,2}}|(?<!series[ ._]){YEAR}|(?<!s)(?-i:[IVX]{{1,5}})"
    rf"|one|two|three|four|five|six|seven|eight|nine|ten)(?:d[0-9]{{1,2}}(?:[-&+,][0-9]{{1,2}})*|v[0-9])?{END}", "Show ‹Season 2› - 03",
    "Show ‹S2› - 07", "Show ‹Temporada 4› [Cap.408]", but=("Seasons of Love", "SIX", "Final Season - 03", "The Series 110", "Series 100 - 07"), flags=_I)
SEASON_AFTER = re.compile(rf"{START}(?P<number>[0-9]{{1,2}})[ ._-]*(?!seas|series)(?:{SEASON_WORD}){END}")
SEASON_LIST = rule("more seasons", r"(?:[ ._]*(?:[-–~:+&,/]+|to|and|à|bis|по)[ ._,&]*s?[0-9]{1,2}(?![^\W_]|\.5(?![0-9])))+",
    "Seasons 1‹-5›", "S01‹-S07›", but=("Season 1 5",), flags=_I)
NEXT_SEASON = re.compile(r"[ ]([0-9]{1,2})(?![^\W_])")
EPISODE_OF_SEASON = rule("an episode right behind a season's number",
    r"[ ._]*[-–][ ._]*(?!0(?![0-9]))([0-9]{1,4})(?:v[0-9])?(?![^\W_]|\.5(?![0-9]))(?![ ._]*[-–&,][ ._]*[0-9])", "Season 3‹ - 11›",
    "S2‹-07›", but=("S2 07", "S2 - 12.5"))
SEASON_PACK = re.compile(
    r"(?<![^\W_])(?:complete|seasons|int[eé]grale?|pack|box ?set|extras)(?![^\W_])", _I
)
EPISODE = rule("an episode's word and number, E and number, or `3 of 6`",
    rf"""(?:
    {START}(?:{EPISODE_WORD})[ ._:№\#-]{{0,3}}
      (?P<number>{_UPTO5})(?P<half>\.[0-9](?![0-9]))?{_TAIL}{_LIST}
      (?:[ ._]?of[ ._]?[0-9]{{1,3}})?
    |{START}e(?P<e>[0-9]{{2,5}})(?P<ehalf>\.[0-9](?![0-9]))?{_TAIL}
      (?P<elist>(?:(?:[-–~&+]e?|[ ]?[-–~&+]?[ ]?e)[0-9]{{2,5}}{END})*)
    |{START}(?:(?P<from>[0-9]{{1,4}})[-–])?(?P<before>[0-9]{{1,4}})(?:-?(?:я|й)|[aªº°^])?(?:[ ._]{{0,2}}|-)(?:{EPISODE_WORD})
      (?![ ._:\#-]{{1,3}}[0-9]{{1,3}}{END})
    |(?:第[ ]?|제?[ ]?(?=[0-9]{{1,4}}[ ]?[화회]))(?P<cjk>[0-9]{{1,4}}|{_CJK}{{1,3}})[ ]?[話话集回화회]
    |\#(?P<hash>[0-9]{{1,4}}){_TAIL}(?P<hlist>(?:[-–~][0-9]{{1,4}}{END})?)
    |{START}(?:(?:cd|{_PART})[ ._]{{0,2}})?(?P<of>[0-9]{{1,3}})[ ._]?(?:of|iz|из|von|av|van|sur|de|di)[ ._]?[0-9]{{1,3}}
    ){END}""", "show ‹episode 3›",
    "show ‹afl. 5 en 6›", "шоу ‹11 серия›", "番組 ‹第03話›", "show ‹e01-e03›", "show ‹3of6›",
    but=("show epic 3", "show e3"), flags=_X)
HELD = rule("how many of a season's episodes a release has so far",
    rf"{START}(?:серии|серий|серії)[ ._:]{{0,3}}(?P<held>[0-9]{{1,2}})[ ](?:из|з)[ ][0-9]{{1,3}}{END}", "сезон 5 ‹серии: 5 из 20›",
    but=("серия 5 из 20", "серии 1-5 из 20"))
SEASON_DOT_EPISODE = rule("season and episode behind one word",
    rf"{START}(?:episode|ep)[ ._]?(?P<mark>\#)?(?P<season>[1-9])\.(?P<episode>[0-9]{{2}}|(?(mark)[0-9]|(?!)))"
    rf"{END}(?![.])", "show - ‹episode 1.22› - title", "show ‹ep #1.2›", but=("episode 1.5", "episode 5."))
SPECIAL = rule("the number of a special",
    rf"{START}(?:sp|specials?|ov?as?|oads?|oavs?|onas?|特典|[総总]集[編篇编])[\])]?[ ._\[#-]*(?:ep(?:isode)?[ ._]*)?"
    rf"(?P<number>[0-9]{{1,2}})(?:v[0-9])?(?P<half>\.[0-9])?{END}", "show - ‹sp01›", "show - ‹ova - 01›",
    "show ‹special 2›", "show ‹ova][01›", but=("show specialist 2", "nova 3"))
SPECIAL_BEHIND = rule("the number of a special before its word",
    r"[ _]-[ _](?P<number>[0-9]{1,2})(?:v[0-9])?(?P<half>\.[0-9])?[ _]-[ _](?:ov[ad]|oad|special)(?=[ _]*[\[(])",
    "[grp] show‹ - 01 - ova› [bd]", but=("show - 01 - ova rising", "show - 05 - special"))
BESIDE = rule("what goes with a show without being one of its episodes",
    r"(?:^\[[^\[\]]*\].*[ _](?=(?:the[ _])?(?:movie|recap|omake|picture[ _]drama))|[ _]-[ _])"
    r"(?P<word>(?:the[ _])?movie|recap|omake|picture[ _]drama|extra|bonus)[ _]+(?:-[ _]+)?[0-9]{1,2}(?:v[0-9])?"
    r"(?=[ _]*(?:[\[(]|$))", "show‹ - recap 01› [bd]", "‹[grp] show movie 02› [bd]", but=("the movie 02", "[grp] show extra 01"))
FILM_OF_SHOW = rule("a film that goes with the show whose title stood before", r"^[\s._-]+(?:the[\s._]+)?(?:movie|film|劇場版|剧场版)[\s._-]*[0-9]{1,2}(?![^\W_])",
    "‹ the Movie 1›", but=("Scary Movie 2", " Movie Night 2"), flags=_I)
PART = rule("a part of a mini-series",
    rf"{START}(?:{_PART}|night|episode)[ ._-]{{0,2}}"
    rf"(?P<part>[0-9]{{1,2}}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten){END}", "Show ‹Part Two›",
    "Show ‹Teil II›", but=("Party 2",), flags=_I)

EPISODE_PART = rule("one of several files of an episode; with a space it may be its title",
    r"(?:^|[ ._-]+)(?:(?:cd|dis[ck])[ ._-]?|part|pt)(?P<part>[1-9])(?=[ ._]*(?:[\[(]|$))", "S01E01‹ - CD2›", "S01E01‹-pt2›",
    but=("S01E01 - Part 2",), flags=_I)

# ---- 5. A number that stands alone, as in anime releases and in a season's folder.
_NUMBER = (
    r"(?P<first>[0-9]{1,5})(?P<half>\.[0-9](?![0-9]))?(?:[a-d](?![^\W_]))?(?:v[0-9]+)?"
    r"(?:(?:[-–~+&]|,[ ]?|[ ][-–~+&][ ](?=[0-9v]+[ ]?(?:[\[(\])】]|$)))(?P<between>(?:[0-9]{2,3}-){0,3})"
    r"(?P<last>[0-9]{1,4})(?:v[0-9]+)?(?![^\W_]))?"
)
ALONE = rule("a name that is nothing but a number",
    rf"^[\s._\[(\#-]*(?:e|ep)?{_NUMBER}(?:[ ._(（-]*(?:end|final|完|終))?[\s._\[\]()）-]*$", "‹03v2›", "‹E03›",
    "‹03-04›", but=("03 Title",), flags=_I)
LEADING = rule("a number in front",
    rf"^[\s._\[(\#]*(?:e|ep)?{_NUMBER}[\])]?(?=[\s._-])(?P<gap>[\s._-]+)(?=\S)", "‹03 - ›Title", "‹03. ›Title",
    but=("Title 03",), flags=_I)
LEADING_TWO = rule("two numbers in front",
    r"^[\s._\[(\#]*(?P<first>[0-9]{1,3})[ ](?:[-–~+&]|and)[ ](?P<last>[0-9]{1,3})(?=[ ]-[ ])",
    "‹03 & 04› - Title", but=("03 & 04",))
BRACKETED_FIRST = re.compile(r"^\s*\[(?P<first>[0-9]{1,3})\][\s._-]+(?=[^\W\d_])")
LAST_DASHED = rule("the number that ends a name; then one in front belongs to the title",
    rf"^(?!0[0-9]*[ ._])[0-9][^\[(]*[^\W\d_]{{3}}[^\[(]*[\s_]-[\s_]{_NUMBER}(?=[\s_]*(?:[\[(]|$))",
    "‹86 - Title - 03›", but=("02 - The Trap - 3",), flags=_I)
DASHED = rule("a number behind a dash",
    rf"(?<=[\s_.])(?<!\([0-9]{{2}}[ ])(?<!\([0-9]{{3}}[ ])[-–‒—][\s_.]+\(?(?:s[0-9]{{1,2}}[ ]?-?[ ]?)?(?:ep?[ ._]?|\#)?"
    rf"{_NUMBER}\)?(?=[\s_.\[(]|$)", "Show ‹- 03› [720p]", but=("Show-03",), flags=_I)
CLOSED = re.compile(r"[\s_.]*(?:$|[\[(]|[-–‒—][\s_.])")
BRACKETED = rule("a number in brackets", rf"[\[【({{][ .]*{_NUMBER}(?:[ ._-]*(?:end|fin|final|完|終))?[ .]*[\]】)}}]",
    "Show ‹[03]›", "Show ‹[12 END]›", but=("Show [03 x]",), flags=_I)
BEFORE_BRACKET = rule("a number before brackets or the end",
    rf"(?<=[\s_.]){_NUMBER}(?:[ ._-]*(?:end|final))?(?=[\s_.]*(?:[\[(【]|$))",
    "Show ‹03› [720p]", but=("Show 03 name",), flags=_I)
INNER = rule("a number between words", rf"(?<=[\s_.]){_NUMBER}(?=[\s_.-])", "Title ‹03› name",
    but=("Title03 x",), flags=_I)
JOINED = rule("two episodes, joined by _", r"(?:^|-[ _]|[ ](?=[0-9]{3}_))(?P<first>[0-9]{1,4})_(?P<last>[0-9]{1,4})(?=[ _]*(?:[\[(-]|$))",
    "‹01_02› - Title", "Show ‹- 01_02› [720p]", "Show‹ 801_802›", but=("Show_01_02", "Show 01_02"))
SECOND_COPY = rule("a number in brackets after another counts downloads", r"(?<=[ _][0-9]{2})[ _]?\([1-9]\)$",
    "Show 05‹ (1)›", but=("Show (1)",))
COUNT_OF_BATCH = rule("the episodes of the batch that a file came with, beside the group",
    r"(?<=[\]】_ ])[\[(【](?:(?:ep?s?[ ._]?)?[0-9]{1,4}[-–~][0-9]{1,4}(?:[ ](?:batch|fin|end))?"
    r"|[0-9]{1,4}[ ](?:eps?|episodes?))[\])】]"
    r"(?=[ _]?\[?[^\W\d_]|[_ ]?[\[【][0-9]{1,4}[\]】]|[_ ]-[_ ][0-9])"
    r"|^\[[0-9]{1,4}[-–~][0-9]{1,4}\](?=[ _]?[^\W\d_])", "[Wide Pace]‹[8-11]› Lime Town 01",
    "[Group][Show]‹[01-24]›[05]", "[Group] Show ‹(12 eps)› - 01",
    but=("[Group] Show [01-12]",), flags=_I)
