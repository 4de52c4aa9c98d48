"""What each output container holds, and what a stream becomes that it does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_SUBTITLES = frozenset(
    {"subrip", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "subviewer", "sami"}
    | {"subviewer1", "jacosub", "mpl2", "pjs", "realtext", "stl", "vplayer", "eia_608"}
)
BITMAP_SUBTITLES = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"})


@dataclass(frozen=True, slots=True)
class Container:
    """A container: which codecs it takes as they are, and the stand-ins for the others.

    ``muxer`` is ffmpeg's name of it; ``audio_encoders`` are tried in turn for audio that has to be
    converted, after ``lossless_encoder`` if it is uncompressed, or what ``wide`` has for samples
    that are too wide for that; text subtitles not in ``subtitles`` become ``subtitle_encoder``.
    ``lowest_rate`` is the least sample rate that a codec may have in it.
    ``languages`` are the words for them that ffmpeg writes; None: any of three letters.
    """

    name: str
    muxer: str
    video: frozenset[str]
    audio: frozenset[str]
    subtitles: frozenset[str]
    audio_encoders: tuple[str, ...]
    subtitle_encoder: str
    lossless_encoder: str | None = None
    wide: Mapping[str, str] = field(default_factory=dict)
    lowest_rate: Mapping[str, int] = field(default_factory=dict)
    attachments: bool = False
    languages: frozenset[str] | None = None
    options: tuple[str, ...] = ()

    @property
    def is_quicktime(self) -> bool:
        """Tell whether it is of the MP4 family, whose players want HEVC tagged ``hvc1``."""
        return self.muxer in {"mp4", "mov"}


_PCM = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_u8"}) | {
    *("pcm_s32be", "pcm_f64le", "pcm_alaw", "pcm_mulaw")
}
# What FLAC has no room for, and the same samples with their bytes in the order of Matroska's.
_LITTLE_ENDIAN = {"pcm_f32be": "pcm_f32le", "pcm_f64be": "pcm_f64le"}

# QuickTime numbers them; ffmpeg knows these by their names of old (``ger``, not ``deu``).
_NUMBERED = """
    alb amh ara arm asm aym aze baq bel ben bul bur cat ces chi dan dut dzo eng epo est fin fra geo
    ger gre grn guj heb hin hun ice ind iri ita jav jpn kan kas kaz khm kin kir kor kur lao lat lav
    lit mac mal mar may mlg mlt mon nep nor nya ori orm per pol por pus que ron run rus san sin slk
    slv snd som spa sve swa tam tat tel tgk tgl tha tib tir tuk tur uig ukr urd uzb vie wel yid
"""

MATROSKA = Container(
    name="Matroska",
    muxer="matroska",
    video=frozenset({"h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "mpeg1video"})
    | {"vc1", "theora", "prores", "ffv1", "mjpeg", "vvc", "dvvideo", "flv1", "h263"}
    | {"msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3"}
    | {"huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "v210", "dnxhd", "cfhd", "png"}
    | {"jpeg2000", "cinepak"},
    audio=frozenset({"aac", "ac3", "eac3", "dts", "truehd", "mlp", "flac", "opus", "vorbis"})
    | {"mp3", "mp2", "mp1", "alac", "wavpack", "tta"}
    | _PCM,
    subtitles=frozenset({"subrip", "ass", "ssa", "webvtt"})
    | {"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
    audio_encoders=("aac",),
    subtitle_encoder="subrip",
    lossless_encoder="flac",
    wide=_LITTLE_ENDIAN,
    attachments=True,
)
MP4 = Container(
    name="MP4",
    muxer="mp4",
    video=frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "vvc"}),
    audio=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    subtitles=frozenset({"mov_text"}),
    audio_encoders=("aac",),
    subtitle_encoder="mov_text",
    lowest_rate={"mp3": 16_000},
    # The index goes to the front, so that playing can start before all of the file is there.
    options=("-movflags", "+faststart"),
)
QUICKTIME = Container(
    name="QuickTime",
    muxer="mov",
    video=frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "prores", "mjpeg", "mpeg1video"})
    | {"dnxhd", "cfhd", "png", "qtrle", "v210", "jpeg2000", "h263", "cinepak", "svq1"},
    audio=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s24be", "pcm_f32be", "pcm_f64be"})
    | _PCM,
    subtitles=frozenset({"mov_text"}),
    audio_encoders=("aac",),
    subtitle_encoder="mov_text",
    languages=frozenset(_NUMBERED.split()),
    # What is left, such as a Blu-ray's, has no more bits.
    lossless_encoder="pcm_s24le",
    options=("-movflags", "+faststart"),
)
WEBM = Container(
    name="WebM",
    muxer="webm",
    video=frozenset({"vp8", "vp9", "av1"}),
    audio=frozenset({"opus", "vorbis"}),
    subtitles=frozenset({"webvtt"}),
    audio_encoders=("libopus", "libvorbis"),
    subtitle_encoder="webvtt",
)

BY_SUFFIX = {".mkv": MATROSKA, ".mp4": MP4, ".m4v": MP4, ".mov": QUICKTIME, ".webm": WEBM}


def container_of(output: str | PurePath) -> Container:
    """Tell which container the name of an output asks for.

    Raises ValueError with a sentence when the ending is none of the known ones.
    """
    suffix = PurePath(output).suffix.lower()
    try:
        return BY_SUFFIX[suffix]
    except KeyError:
        known = ", ".join(BY_SUFFIX)
        ending = f"ends in {suffix!r}" if suffix else "has no ending"
        raise ValueError(f"The output {ending}; give it one of {known}.") from None
