"""What the pictures of a video stream say of it, at its beginning, in the middle and at its end."""

from __future__ import annotations

import collections
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from haas_media.encoding.facts import (
    HIGHEST_STANDARD,
    WIDEST_STANDARD,
    Fact,
    HighDynamicRange,
    Interlaced,
    Order,
    Reshaped,
    SideData,
    Untagged,
    Untimed,
    VariableRate,
)
from haas_media.probe.streams import open_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

# As many pictures as it takes until one is out of order, were they to be.
_FIRST_PICTURES = 16
_MOST_REORDERED = 17
_HDR = {16: "PQ", 18: "HLG"}
# What ITU-T H.273 has for colours that are not specified, or reserved, and for those of BT.2020.
_UNSPECIFIED = {0, 2}
_BT2020 = 9
_BT709 = 1
# Of pictures and packets: what is said elsewhere, and what encoders write for themselves.
UNREMARKABLE = {
    *("SEI_UNREGISTERED", "MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST"),
    *("VIDEO_HINT", "GOP_TIMECODE", "PANSCAN", "AFD", "FILM_GRAIN_PARAMS"),
    *("DOVI_RPU_BUFFER", "DOVI_METADATA", "CPB properties"),
    *("DOVI configuration record", "ICC_PROFILE", "S12M_TIMECODE"),
}

# Windows of a film that are looked at, and how many pictures of each, to know its fields.
_WINDOWS = (0.1, 0.4, 0.6, 0.85)
_WINDOW_PICTURES = 30
# Of those that have no fields: what comes with them, such as captions, may begin late.
_FEW_PICTURES = 4
# FFmpeg's AVFieldOrder: TT, BB, TB, BT.
_ORDERS: dict[int, Order] = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
_HIGHEST_INTERLACED = 1088
_FASTEST_INTERLACED = 31
# Shares of the pictures. What calls itself progressive is believed unless every few fields come
# twice: fine patterns that move look like fields to idet.
_NEARLY_ALL = 0.9
_REPEATED = 0.1
_ENOUGH_PICTURES = 10
# How far rates may be apart, and of the time between pictures what is no rounding any more.
_SAME_RATE = 0.01
_MUCH_FASTER = 0.75


def look(
    container: InputContainer, raw: Any, duration: float | None, *, again: bool
) -> tuple[bool, list[Fact]]:
    """Decode the first pictures of a video stream, and some later ones if its length is given.

    Returns whether a quarter turn stands in a picture, and the facts. ``again`` says that the file
    has been read from already, which a bare stream cannot be twice.
    """
    from av.error import FFmpegError

    turned = False
    facts: list[Fact] = []
    frames: list[Any] = []
    context = raw.codec_context
    # Once a picture is decoded, what the container says may be gone.
    said_outside = (context.color_primaries, context.color_trc, context.colorspace)
    try:
        if again:
            container.seek(0)
        frames += itertools.islice(container.decode(raw), _FIRST_PICTURES)
    except (FFmpegError, OSError, IndexError):
        pass  # a damaged beginning: ffmpeg will say so
    if frames:
        first = frames[0]
        turned = getattr(first, "rotation", 0) % 180 == 90
        facts += _colours(first, said_outside, context)
        times = [frame.pts for frame in frames]
        if None in times or any(one > other for one, other in itertools.pairwise(times)):
            facts.append(Untimed())
    order = _ORDERS.get(raw.codec_context.field_order)
    said = order is not None or any(frame.interlaced_frame for frame in frames)
    possible = raw.codec_context.height <= _HIGHEST_INTERLACED
    possible = possible and (raw.average_rate or 0) <= _FASTEST_INTERLACED
    shape = _shape(frames[0], context) if frames else None
    looked = _look_inside(container, raw, shape, duration, fields=said or possible)
    names = dict.fromkeys(_side_data(*frames) + looked.side_data)
    facts += [SideData(name) for name in names if name not in UNREMARKABLE]
    interlaced = _fields(looked.fields, said, order)
    facts += [interlaced] if interlaced else []
    facts += [Reshaped()] if looked.reshaped else []
    facts += [VariableRate()] if _is_variable(raw, looked.shortest) else []
    return turned, facts


def _colours(first: Any, said_outside: tuple[int, int, int], context: Any) -> Iterator[Fact]:
    """Tell the colours of pictures by the first of them, and by what its container says."""
    said = (int(first.color_primaries), int(first.color_trc), int(first.colorspace))
    primaries, trc, matrix = (
        outside if own in _UNSPECIFIED and outside not in _UNSPECIFIED else own
        for own, outside in zip(said, said_outside, strict=True)
    )
    # A decoder may learn of HLG from what comes with the first picture, for those after it.
    transfer = _HDR.get(trc) or _HDR.get(context.color_trc)
    if transfer is not None:
        primaries = _BT2020 if primaries in _UNSPECIFIED else primaries
        matrix = _BT2020 if matrix in _UNSPECIFIED else matrix
    large = first.width > WIDEST_STANDARD or first.height > HIGHEST_STANDARD
    by_size = large and (primaries, trc, matrix) == said and matrix in _UNSPECIFIED
    if large and matrix in _UNSPECIFIED:  # 0 is RGB, which has none until it is encoded
        primaries, trc, matrix = (
            _BT709 if each in _UNSPECIFIED else each for each in (primaries, trc, matrix)
        )
    if (primaries, trc, matrix) != said:
        yield Untagged(primaries, trc, matrix, first.format.is_rgb, by_size)
    if transfer is not None:
        yield HighDynamicRange(transfer)  # type: ignore[arg-type]


def _is_variable(raw: Any, shortest: float | None) -> bool:
    """Tell whether pictures keep another pace than the rate by which ffmpeg counts them.

    ``shortest`` is the least time between two of those that were looked at, in seconds.
    """
    average, counted = raw.average_rate, raw.guessed_rate
    if not average or not counted:
        return False
    if not 1 - _SAME_RATE < float(average / counted) < 1 + _SAME_RATE:
        return True
    return shortest is not None and shortest < _MUCH_FASTER / float(counted)


def _fields(counted: dict[str, float], said: bool, order: Order | None) -> Interlaced | None:
    """Tell whether pictures are made of fields: by what they say, and by what was seen of them."""
    seen = sum(value for name, value in counted.items() if name.startswith("repeated."))
    if seen >= _ENOUGH_PICTURES:
        tff, bff = counted["multiple.tff"], counted["multiple.bff"]
        first: Order | None = None if tff == bff else "tff" if tff > bff else "bff"
        if min(counted["repeated.top"], counted["repeated.bottom"]) >= _REPEATED * seen:
            return Interlaced(first, "telecine", said)
        if said and counted["multiple.progressive"] >= _NEARLY_ALL * seen:
            return Interlaced(order, "flagged")
        # DV and MPEG-4 in AVI tell it of no stream, and PyAV of no picture.
        order = order or first
    return Interlaced(order) if said else None


@dataclass(slots=True)
class _Inside:
    """What was seen of pictures in the middle: ``fields`` as ``idet`` counts them.

    ``shortest`` is the least time between two of them, in seconds; ``reshaped`` says that some are
    of another shape than the first picture; ``side_data`` names what comes with them.
    """

    fields: dict[str, float] = field(default_factory=dict)
    shortest: float | None = None
    reshaped: bool = False
    side_data: list[str] = field(default_factory=list)


def _side_data(*frames: Any) -> list[str]:
    return [side.type.name for frame in frames for side in frame.side_data]


def _shape(frame: Any, context: Any) -> tuple[int, int, Any]:
    """Give the size of a picture that was just decoded, and the shape of its pixels."""
    return frame.width, frame.height, context.sample_aspect_ratio or 1


def _look_inside(
    container: InputContainer,
    raw: Any,
    shape: tuple[int, int, Any] | None,
    duration: float | None,
    *,
    fields: bool,
) -> _Inside:
    """Look at some windows of a film, if its length is known.

    With ``fields`` at enough pictures to say how many are combed.
    """
    from av.error import BlockingIOError as NotYet
    from av.error import EOFError as AtEnd
    from av.error import FFmpegError

    found = _Inside()
    for share in _WINDOWS if duration else ():
        last: dict[str, str] = {}
        before: float | None = None
        try:
            combed = _find_combed(raw) if fields else None
            container.seek(int((duration or 0.0) * share * 1_000_000 + (container.start_time or 0)))
            pictures = _WINDOW_PICTURES if fields else _FEW_PICTURES
            for frame in itertools.islice(container.decode(raw), pictures):
                found.side_data += _side_data(frame)
                if shape is not None and _shape(frame, raw.codec_context) != shape:
                    found.reshaped = True
                if before is not None and frame.time is not None and frame.time > before:
                    gap = frame.time - before
                    found.shortest = gap if found.shortest is None else min(gap, found.shortest)
                before = frame.time
                if combed is not None:
                    combed.push(frame)
                    with contextlib.suppress(NotYet, AtEnd):
                        last = combed.pull().metadata
        except (FFmpegError, OSError, ValueError, IndexError):
            continue  # it cannot be sought in, or is damaged there, which may show a new stream
        for name, value in last.items():
            known = name.removeprefix("lavfi.idet.")
            if known.startswith(("repeated.", "multiple.")) and "current" not in known:
                found.fields[known] = found.fields.get(known, 0.0) + float(value)
    return found


def _find_combed(raw: Any) -> Any:
    """Return what counts the combed pictures among those of a stream that are pushed into it."""
    import av

    graph = av.filter.Graph()
    source, idet = graph.add_buffer(template=raw), graph.add("idet", "rep_thres=1.5")
    source.link_to(idet)
    idet.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def look_at_end(path: Path, index: int) -> tuple[tuple[int, int], ...]:
    """Decode the end of a stream, which alone tells in which order its last pictures are shown."""
    from av.error import FFmpegError

    shown: list[int] = []
    total, recent = 0, collections.deque[list[Any]]([[]], maxlen=2)
    with contextlib.suppress(FFmpegError, IndexError), open_input(path) as container:
        raw = container.streams[index]
        for packet in container.demux(raw):
            if packet.is_keyframe and packet.size:
                recent.append([])
            if packet.size:
                packet.pts = packet.dts = total
                recent[-1].append(packet)
                total += 1
        decoder: Any = raw.codec_context
        for packet in (*itertools.chain.from_iterable(recent), None):
            shown += [frame.pts for frame in decoder.decode(packet)]
    places = {number: place for place, number in enumerate(shown)}
    numbers = range(max(1, total - _MOST_REORDERED), total)
    if not all(number in places and number - 1 in places for number in numbers):
        return ()
    return tuple((number, places[number] - places[number - 1]) for number in numbers)
