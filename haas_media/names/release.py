"""Find where a name stops speaking of a title and begins to speak of a release.

Patterns are written in small letters and matched against text in small letters: `re.IGNORECASE`
makes a search among this many words three times as slow.
"""

from __future__ import annotations

import re

_RELEASE = re.compile(
    r"""(?<![^\W_])(?:
    [0-9]{3,4}[x×][0-9]{3,4} | [0-9]{3,4}[pi] | 1[0o]8[0o]p | [48]k | uhd
    | blu[ .-]?ray | bd[ .-]?(?:rip|remux|r) | br[ .-]?rip | uhd[ .-]?rip | remux
    | (?:hd)?dvd[ .-]?(?:rip|scr|screener|[59r]) | hd[ .-]?dvd | (?:true)?hd[ .-]?rip
    | (?:bd|br|web|dvd|hdtv|hd)[ .-]?(?:rip)?mux
    | hd[ .-]?(?:tv[ .-]?rip|tv|cam|ts|tc) | (?:web|tv|cam|vhs|sat|dvb|ppv|vod|dsr?)[ .-]?rip
    | web[ ._-]?dl | pdtv | tele[ .-]?(?:sync|cine) | ts[ .-]?screener | screener | workprint
    | [xh][ .]?26[456] | hevc | avc | xvid | divx | av1 | vp9 | mpeg[ .-]?[24]
    | (?:8|10|12)[ -]?bits? | [0-9]{2,3}fps
    | hi10p? | hdr(?:10)?(?:p|plus|\+)? | dovi
    | (?:3d[ .-])?(?:h(?:alf)?[ .-]?)(?:sbs|ou|tab) | 3d[ .-](?:sbs|ou|tab)
    | aac(?:[0-9x][0-9.]*)? | e?[ -]?ac-?3(?:[0-9.]+)? | dts(?:[ -]?(?:hd|x|es))?
    | true[ -]?hd | atmos
    | dd[p+]?a?[ .]?[257][ .][01] | flac(?:x?[0-9.]*)? | mp3
    | vostfr | vosta? | true ?french | sub ?french | sub ?forced | fast ?sub | multi[ .-]?subs?
    | dual[ ._-]?audio | (?:e|m|multi)-?subs | soft-?subs? | hard-?subs? | dubbed | subbed
    | read ?nfo | repack | rarbg | yify | yts | ettv | eztv
    | (?:swe|nor|dan|fin|nl|eng|ger|ita|rus|pl)[ .-]?sub(?:s|bed)?
    )(?![^\W_])""",
    re.VERBOSE,
)
_LEADING = re.compile(rf"(?:{_RELEASE.pattern}[\s._-]+)+(?=[^\W\d_])", re.VERBOSE)


def lower(text: str) -> str:
    """Return text in small letters, each letter where it stood."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


def find_release(text: str, start: int = 0) -> re.Match[str] | None:
    """Find the first word, from `start` on, that no title ends with; use the match's span only."""
    return _RELEASE.search(lower(text), start)


def begins_with_release(text: str, at: int = 0) -> bool:
    """Tell whether a word that no title holds stands at a place in a name."""
    return _RELEASE.match(lower(text), at) is not None


def is_all_release(text: str) -> bool:
    """Tell whether a name is nothing but a word of release talk (`1080p`)."""
    return _RELEASE.fullmatch(lower(text)) is not None


def without_leading_release(text: str) -> str:
    """Drop release talk from before a title (`h265 - Title`), when a title follows."""
    leading = _LEADING.match(lower(text))
    return text[leading.end() :] if leading else text
