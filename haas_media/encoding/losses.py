"""What becomes of each fact of a stream: kept, converted, dropped with a warning, or refused."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from haas_media.encoding.encoders import kept_bits
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.facts import (
    HIGHEST_STANDARD,
    Alpha,
    Begins,
    Channels,
    Disposition,
    DolbyVision,
    Fact,
    HighDynamicRange,
    Interlaced,
    Language,
    Lossless,
    Reshaped,
    Samples,
    SideData,
    Statistics,
    Title,
    Untagged,
    Untimed,
    VariableRate,
    is_lossless,
)
from haas_media.encoding.request import CODEC_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from haas_media.encoding.containers import Container
    from haas_media.encoding.request import EncodeRequest
    from haas_media.probe.streams import Stream

# HDR to SDR by way of linear light; what a screen of 100 cd/m² shows as white stays white.
TONE_MAP = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,sidedata=mode=delete:type=MASTERING_DISPLAY_METADATA,"
    "sidedata=mode=delete:type=CONTENT_LIGHT_LEVEL"
)
# That of transport streams, fine enough for every frame rate.
FINE_CLOCK = "1/90000"
_MATRICES = {1: (1, "bt709"), 9: (9, "bt2020")}
_YUV = "format=yuv444p|yuv444p10le|yuv444p12le|yuv444p16le"
_CAPTIONS = "A53_CC"
_OF_HDR = {
    *("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS"),
    *("DYNAMIC_HDR_VIVID", "AMBIENT_VIEWING_ENVIRONMENT"),
}
# What players know of MP4, but no standard does.
_UNOFFICIAL = {"SPHERICAL", "STEREO3D"}


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a fact.

    ``kept`` has to be in the output, ``tried`` is warned of when it is not; ``converted`` and
    ``dropped`` must not be there, but ``becomes``, if given. ``says`` is what the report says when
    it is lost, ``note`` what it says in any case. ``filters`` go before scaling; ``tone_map`` after
    it; ``options`` are ffmpeg's for this stream.
    """

    fact: Fact
    what: Literal["kept", "tried", "converted", "dropped"]
    says: str | None = None
    note: str | None = None
    becomes: Fact | None = None
    filters: tuple[str, ...] = ()
    tone_map: bool = False
    options: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a stream. ``codec`` is what it is encoded as, None for a copy."""

    stream: Stream
    request: EncodeRequest
    container: Container
    codec: str | None

    @property
    def is_tone_mapped(self) -> bool:
        """Tell whether HDR becomes SDR."""
        wanted = self.request.hdr
        return wanted == "tonemap" or (wanted == "auto" and self.codec == "h264")


def decide(change: Change, facts: Sequence[Fact]) -> tuple[Fate, ...]:
    """Decide on every fact of a stream.

    Raises EncodingError, with what to do, where a loss is not allowed.
    """
    if change.codec in CODEC_NAMES and change.request.deinterlace == "always":
        known = any(isinstance(fact, Interlaced) for fact in facts)
        facts = facts if known else (*facts, Interlaced(None, said=False))
    return tuple(_fate(fact, change) for fact in facts)


def _fate(fact: Fact, change: Change) -> Fate:
    stream, container, codec = change.stream, change.container, change.codec
    match fact:
        case Interlaced():
            return _interlaced(fact, change)
        case HighDynamicRange():
            return _hdr(fact, change)
        case Untagged():
            return _untagged(fact, change)
        case DolbyVision():
            return _dolby_vision(fact, change)
        case Alpha():
            if codec is None and (stream.codec != "vp9" or not container.is_quicktime):
                return Fate(fact, "kept")
            says = f"Video {stream.index} loses its transparency (alpha)."
            return Fate(fact, "dropped", says, metadata=(("alpha_mode", ""), ("ALPHA_MODE", "")))
        case Untimed():
            return _untimed(fact, codec)
        case Begins():
            return Fate(fact, "tried", f"Where {stream.kind} {stream.index} begins has moved.")
        case VariableRate():
            # Else an encoder's clock ticks once a picture, and of two in one tick one is dropped.
            options = (("enc_time_base", FINE_CLOCK),) if codec else ()
            if codec and container.is_quicktime:  # there ffmpeg 5 would fill each of its ticks
                options = (*options, ("fps_mode", "vfr"))
            return Fate(fact, "tried", options=options)
        case Lossless():
            if codec is None:
                return Fate(fact, "tried")
            if is_lossless(codec):
                return Fate(fact, "converted", becomes=Lossless(codec))
            note = (
                f"Audio {stream.index} was lossless ({fact.name}) and is {codec} now, which is "
                "not: .mkv keeps it."
            )
            return Fate(fact, "converted", note=note)
        case Channels():
            says = f"Audio {stream.index} has fewer channels than the {fact.count} of its source."
            return Fate(fact, "tried", says)
        case Reshaped():
            if codec is None:
                return Fate(fact, "tried")
            return Fate(fact, "dropped", reshaped(stream.index))
        case Language():
            return _language(fact, change)
        case Title():
            says = f"{stream.kind.capitalize()} {stream.index} loses its title {fact.text!r}."
            metadata = (("title", fact.text), ("name", "")) if fact.renamed else ()
            return Fate(fact, "tried", says, metadata=metadata)
        case Disposition():
            says = f"{stream.kind.capitalize()} {stream.index} is no longer marked as"
            return Fate(fact, "tried", f"{says} {_words(fact.name)} in {container.name}.")
        case Statistics():
            return Fate(fact, "dropped", metadata=tuple((name, "") for name in fact.tags))
        case Samples():
            return _samples(fact, change)
        case SideData():
            # Pictures are turned as they are decoded.
            gone = fact.name == "DISPLAYMATRIX" or (fact.name in _OF_HDR and change.is_tone_mapped)
            if codec and gone:
                return Fate(fact, "dropped")
            if codec in {None, "h264"} and fact.name == _CAPTIONS:
                # Its encoders write them. Not all pictures have some: those that are looked at in
                # the output are others.
                return Fate(fact, "tried")
            unofficial = container.muxer == "mp4" and fact.name in _UNOFFICIAL
            options = (("strict", "unofficial"),) if unofficial else ()
            says = f"Video {stream.index} loses its {_words(fact.name)}."
            return Fate(fact, "tried", says, options=options)
        case _:
            assert_never(fact)


def reshaped(index: int) -> str:
    """Say what becomes of a video that changes its size: encoders keep one to the end."""
    return (
        f"Video {index} changes its size or shape in the middle: all of it has that of its "
        "beginning now, and what follows is squeezed into it."
    )


def _interlaced(fact: Interlaced, change: Change) -> Fate:
    stream, request, codec = change.stream, change.request, change.codec
    what = f"Video {stream.index}"
    if codec is None:  # of some sources nothing but the container tells
        says = f"{what} stays interlaced, and {change.container.name} does not tell players so."
        return Fate(fact, "tried", says)
    if request.deinterlace == "never":
        if request.height is not None:
            raise EncodingError(
                f"{what} is interlaced, and scaling it down would blend its fields: leave "
                "deinterlace at 'auto', or resolution at 'source'."
            )
        if codec != "h264" or request.hardware_acceleration != "none":
            says = f"{what} stays combed, and no player can tell."
            return Fate(fact, "tried", says, note=f"{what} stays interlaced.")
        note = f"{what} stays interlaced and is coded so."
        # Without an order, that of each picture is passed on.
        first = (f"setfield={fact.order}",) if fact.order else ()
        return Fate(fact, "kept", note=note, filters=first, options=(("flags", "+ilme+ildct"),))
    if request.deinterlace == "auto" and fact.kind == "flagged":
        note = f"{what} calls itself interlaced, but its pictures are whole: they stay as they are."
        return Fate(fact, "converted", note=note, filters=("setfield=prog",))
    if fact.kind == "telecine":
        note = f"{what} was telecined; its pictures were put together again, none left out."
        if kept_bits(codec, stream.bit_depth) > 8:
            note += f" Of {stream.bit_depth} bits a sample this leaves 8."
        matched = f"fieldmatch=order={fact.order or 'auto'}:combmatch=full"
        rest = "bwdif=mode=send_frame:deint=interlaced,setfield=prog"
        return Fate(fact, "converted", note=note, filters=(matched, rest))
    note = (
        f"{what} was deinterlaced: each of its fields became a picture, so that no motion is lost."
    )
    fields = f"bwdif=mode=send_field:parity={fact.order or 'auto'}:deint=all"
    return Fate(fact, "converted", note=note, filters=(fields,))


def _untagged(fact: Untagged, change: Change) -> Fate:
    height = change.request.height
    stays_large = height is None or height > HIGHEST_STANDARD
    if change.codec is None or (fact.by_size and not fact.is_rgb and stays_large):
        return Fate(fact, "tried")
    said = f"color_primaries={fact.primaries}:color_trc={fact.transfer}"
    number, filters = fact.matrix, []
    if fact.is_rgb:  # left to itself, ffmpeg takes BT.601, and does not say so
        number, name = _MATRICES.get(number, (6, "smpte170m"))
        filters = [f"scale=out_color_matrix={name}:out_range=tv", _YUV]
    filters += [f"setparams={said}:colorspace={number}"]
    return Fate(fact, "tried", filters=tuple(filters))


def _hdr(fact: HighDynamicRange, change: Change) -> Fate:
    what = f"Video {change.stream.index} is HDR ({fact.transfer})"
    if change.codec and change.is_tone_mapped:
        says = f"{what} and was tone-mapped to SDR. HEVC, AV1 and VP9 keep it."
        return Fate(fact, "dropped", says, tone_map=True)
    if change.codec == "h264" and change.request.hdr == "refuse":
        raise EncodingError(
            f"{what}, which H.264 at 8 bits cannot keep: choose HEVC, AV1 or VP9, or hdr 'tonemap'."
        )
    note = f"{what}; H.264 at 8 bits shows bands in it." if change.codec == "h264" else None
    return Fate(fact, "kept", note=note)


def _dolby_vision(fact: DolbyVision, change: Change) -> Fate:
    container = change.container
    if change.codec is None and container.muxer in {"matroska", "webm", "mp4"}:
        return Fate(fact, "kept", options=(("strict", "unofficial"),))
    what = f"Video {change.stream.index} is Dolby Vision of profile {fact.profile}"
    where = f"in {container.name}" if change.codec is None else "in an encode"
    instead = "copy it into an .mkv or .mp4"
    if fact.fallback:
        says = f"{what}, which is lost {where}; its base layer stays. To keep it, {instead}."
        return Fate(fact, "dropped", says)
    if not change.request.allow_loss:
        raise EncodingError(
            f"{what}, whose colours are wrong without it, and it is lost {where}: {instead}, or "
            "set allow_loss."
        )
    return Fate(fact, "dropped", f"{what}, which is lost {where}: its colours are wrong now.")


def _samples(fact: Samples, change: Change) -> Fate:
    if change.codec is None:
        return Fate(fact, "kept")
    bits = kept_bits(change.codec, fact.bits)
    becomes = Samples(bits, "4:2:0")
    if fact == becomes:
        return Fate(fact, "kept")
    if bits >= fact.bits and fact.chroma == "4:2:0":
        return Fate(fact, "converted", becomes=becomes)
    deeper = " HEVC, AV1 and VP9 keep 10." if bits < min(fact.bits, 10) else ""
    note = (
        f"Video {change.stream.index} has {fact.bits} bits a sample and {fact.chroma} colour; the "
        f"output {bits} and 4:2:0.{deeper}"
    )
    return Fate(fact, "converted", note=note, becomes=becomes if bits > 8 else None)


def _untimed(fact: Untimed, codec: str | None) -> Fate:
    if codec is not None or not fact.tail:
        return Fate(fact, "converted")
    # ffmpeg's filter reads the order of display from the pictures, but loses it at the very end.
    later = "0"
    for number, step in reversed(fact.tail):
        later = f"if(eq(N,{number}),{step},{later})"
    known = f"if(lt(N,{fact.tail[0][0]}),PTS,PREV_OUTPTS+(DTS-PREV_INDTS)*{later})"
    return Fate(fact, "converted", options=(("bsf", f"dts2pts,setts=pts='{known}'"),))


def _language(fact: Language, change: Change) -> Fate:
    stream, container = change.stream, change.container
    if not container.is_quicktime:
        return Fate(fact, "kept")
    code = three_letters(fact.tag)
    if code is not None and container.languages is not None:
        code = next((each for each in _names_of(code) if each in container.languages), None)
    if code is None:
        says = (
            f"{container.name} has no word for the language {fact.tag!r} of stream {stream.index}."
        )
        return Fate(fact, "dropped", says, metadata=(("language", ""),))
    if code == fact.tag:
        return Fate(fact, "kept")
    return Fate(fact, "converted", becomes=Language(code), metadata=(("language", code),))


def _names_of(code: str) -> Iterator[str]:
    """Yield a language's ISO 639-2 code, its bibliographic one, and what only ffmpeg calls it."""
    from babelfish import Error
    from babelfish import Language as Known

    yield code
    with suppress(ValueError, Error):
        yield str(Known(code).alpha3b)
    if code == "swe":
        yield "sve"


def three_letters(tag: str) -> str | None:
    """Give the ISO 639-2 code (``fra``) of a language written in any way, None if it has none."""
    from babelfish import Error
    from babelfish import Language as Known

    tag = tag.replace("_", "-")
    # What babelfish does not know as a whole, such as es-419, it knows by its first part.
    for written in (tag, tag.partition("-")[0]):
        for read in (Known.fromietf, Known.fromalpha3b, Known.fromname):
            try:
                return str(read(written).alpha3)
            except (ValueError, Error):
                continue
    # Such as qaa, which broadcasters have for the original language.
    return tag if re.fullmatch("[a-z]{3}", tag) else None


def _words(name: str) -> str:
    known = {
        _CAPTIONS: "closed captions",
        "DISPLAYMATRIX": "rotation",
        "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    }
    return known.get(name, name.replace("_", " ").lower())
