"""What a stream may be besides its codec and size, each of which an encoding could lose.

A fact that is added here has to be given a fate in ``losses.py``: mypy refuses a plan without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Order = Literal["tff", "bff"]
# Pictures that do not say their colours are taken for BT.601 up to here, for BT.709 above.
WIDEST_STANDARD, HIGHEST_STANDARD = 1279, 576


@dataclass(frozen=True, slots=True)
class Interlaced:
    """The pictures hold two moments each: top field first, bottom field first, or nobody knows.

    ``kind`` is ``fields`` for video that was shot so and ``telecine`` for pictures that were put
    together of the fields of others, ``flagged`` for whole pictures that only call themselves so.
    """

    order: Order | None
    kind: Literal["fields", "telecine", "flagged"] = "fields"
    said: bool = True


@dataclass(frozen=True, slots=True)
class HighDynamicRange:
    """HDR by its transfer: PQ or HLG."""

    transfer: Literal["PQ", "HLG"]


@dataclass(frozen=True, slots=True)
class Untagged:
    """Pictures that do not say their colours, which their container, HDR or size tell.

    Numbers are those of ITU-T H.273, 2 for what nobody knows. ``by_size`` says that nothing but
    their size tells.
    """

    primaries: int
    transfer: int
    matrix: int
    is_rgb: bool = False
    by_size: bool = False


@dataclass(frozen=True, slots=True)
class DolbyVision:
    """Dolby Vision. ``fallback`` says that its base layer is good without it."""

    profile: int
    fallback: bool


@dataclass(frozen=True, slots=True)
class Alpha:
    """Transparency."""


@dataclass(frozen=True, slots=True)
class Untimed:
    """Packets without the times at which their pictures are shown, in another order.

    ``tail`` has for each of the last packets its number and how many pictures later than the one
    before it is shown; empty when nobody can tell.
    """

    tail: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Begins:
    """The first timestamp, in seconds after that of the file."""

    seconds: float


@dataclass(frozen=True, slots=True)
class VariableRate:
    """Pictures that come faster, or slower, than the frame rate by which ffmpeg counts them."""


@dataclass(frozen=True, slots=True)
class Reshaped:
    """Pictures that change their size, or the shape of their pixels, in the middle."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language, as the file writes it: ``fra``, ``fre``, ``fr`` or ``pt-BR``."""

    tag: str


@dataclass(frozen=True, slots=True)
class Title:
    """A track's title. ``renamed`` says that its tag is not ``title``, the only one written."""

    text: str
    renamed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a track is for, by ffmpeg's name for it: ``forced``, ``comment``, ``original``.

    Whether it is played by default is no fact of its own: that depends on the tracks beside it.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Tags that count what the stream held when somebody wrote them, such as mkvmerge."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """More than 8 bits a sample, or more colour than 4:2:0."""

    bits: int
    chroma: Literal["4:2:0", "4:2:2", "4:4:4"]


@dataclass(frozen=True, slots=True)
class SideData:
    """Anything else that comes with the stream or its pictures, by ffmpeg's name for it."""

    name: str


@dataclass(frozen=True, slots=True)
class Lossless:
    """Sound of which nothing has been left out, ``name`` as it is known by."""

    name: str


_LOSSLESS = frozenset({"flac", "alac", "truehd", "mlp", "wavpack", "tta", "ape", "wmalossless"}) | {
    *("s302m", "mp4als", "tak", "shorten")
}
_COMPANDED = frozenset({"pcm_alaw", "pcm_mulaw", "pcm_vidc"})


def is_lossless(codec: str) -> bool:
    """Tell whether a codec of sound leaves nothing out."""
    return codec in _LOSSLESS or (codec.startswith("pcm_") and codec not in _COMPANDED)


@dataclass(frozen=True, slots=True)
class Channels:
    """How many channels a sound has."""

    count: int


Fact = (
    Interlaced
    | HighDynamicRange
    | Untagged
    | DolbyVision
    | Alpha
    | Untimed
    | Begins
    | VariableRate
    | Reshaped
    | Language
    | Title
    | Disposition
    | Statistics
    | Samples
    | SideData
    | Lossless
    | Channels
)
