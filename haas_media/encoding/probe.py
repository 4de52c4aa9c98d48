"""What an input is: one record, which the plan is made from and the output's is held against."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import re
import stat
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from haas_media.encoding.errors import EncodingError
from haas_media.encoding.facts import (
    Alpha,
    Begins,
    Disposition,
    DolbyVision,
    Fact,
    HighDynamicRange,
    Interlaced,
    Language,
    Lossless,
    Order,
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
from haas_media.encoding.ffmpeg import companion, environment
from haas_media.probe.container import open_input
from haas_media.probe.streams import Stream, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

# Where a picture is, and how long the file, is told by nothing but its clock, which may jump.
CLOCKED = {"mpegts", "mpeg"}
_TEXT_FORMATS = {"srt", "ass", "webvtt", "microdvd", "mpsub", "mpl2", "subviewer", "sami", "stl"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# As many pictures as it takes until one is out of order, were they to be.
_FIRST_PICTURES = 16
_MOST_REORDERED = 17
# Containers whose global tags are a film's; others count bytes and name programs in them.
_TAGGED = {"matroska", "mov", "avi", "ogg"}
_TECHNICAL = re.compile(
    r"(encoder|encoding_tool|software|major_brand|minor_version|compatible_brands|creation_time"
    r"|timecode|duration|bps|number_of_(frames|bytes)|_statistics_\w+)(-\w+)?$"
)
# What MP4 adds to those for the impaired, captions and descriptions, is the same said twice.
_PURPOSES = ("dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired")
_HDR = {16: "PQ", 18: "HLG"}
# What ITU-T H.273 has for colours that are not specified, or reserved, and for those of BT.2020.
_UNSPECIFIED = {0, 2}
_BT2020 = 9
_STATISTICS = re.compile(
    r"(?i)^((BPS|NUMBER_OF_BYTES|NUMBER_OF_FRAMES|_STATISTICS_\w+?)(-\w+)?|DURATION-\w+)$"
)
_DUMPED = re.compile(
    r"^ *Stream #0:(?P<index>\d+)[^:]*: (?P<kind>\w+): (?P<codec>\w+)(.*?\((?P<tag>\w+) / 0x)?"
)
_DUMPED_SIDE_DATA = re.compile(r"^      (?P<name>\w[\w ().-]*?)(: |$)")
_GUESSED = re.compile(rb"^\[[^\]]*\] Estimating duration from bitrate", re.MULTILINE)
_DOLBY_VISION = re.compile(r"DOVI .*profile: (?P<profile>\d+),.* compatibility id: (?P<base>\d+)")
# Of pictures and packets: what is said elsewhere, and what encoders write for themselves.
_UNREMARKABLE = {
    *("SEI_UNREGISTERED", "MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST"),
    *("DISPLAYMATRIX", "VIDEO_HINT", "GOP_TIMECODE", "PANSCAN", "AFD", "FILM_GRAIN_PARAMS"),
    *("DOVI_RPU_BUFFER", "DOVI_METADATA", "displaymatrix", "CPB properties"),
    *("DOVI configuration record", "ICC_PROFILE", "S12M_TIMECODE"),
}
# What the stream and its pictures both say, under two names.
_SAME = {
    "Mastering Display Metadata": "MASTERING_DISPLAY_METADATA",
    "Content Light Level Metadata": "CONTENT_LIGHT_LEVEL",
    "stereo3d": "STEREO3D",
    "spherical": "SPHERICAL",
}
_LARGEST_PAGES = 2 * 65536
_DUMP_SECONDS = 60

# Windows of a film that are looked at for fields, and how many pictures of each.
_WINDOWS = (0.1, 0.4, 0.6, 0.85)
_WINDOW_PICTURES = 30
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


# What a muxer writes by itself from a file's chapters, or from the timecode in a stream's tags.
Anew = Literal["chapters", "timecode"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file looked like at one moment; differs when it was written to or replaced."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What a file is. ``format`` is the demuxer's short name, ``duration`` in seconds.

    ``facts`` are those of each stream, by its index. ``unfinished`` says that the file ends in the
    middle of something, though it does not tell how long it was to be. ``anew`` are the streams in
    which MP4 keeps what is no stream elsewhere, by index; ``tags`` the names, in small letters, of
    what somebody wrote about all of it.
    """

    path: Path
    format: str
    duration: float | None
    streams: tuple[Stream, ...]
    identity: Identity
    facts: dict[int, tuple[Fact, ...]] = field(default_factory=dict)
    unfinished: bool = False
    anew: dict[int, Anew] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()


def identify(path: Path) -> Identity:
    """Read what tells one state of a file from another. Raises OSError."""
    status = path.stat()
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def probe(path: Path, *, look_for_fields: bool = False) -> MediaFile:
    """Read what a file is: its streams, and the facts of each.

    The first pictures of each video stream are decoded; with ``look_for_fields`` also some in the
    middle, which alone tell whether they are really made of fields. Raises EncodingError.
    """
    identity = _regular_file(path)
    from av.error import FFmpegError

    try:
        with open_input(path) as container:
            known = read(container, path)
            found, duration = list(known.streams), known.duration
            name = known.container.split(",")[0]
            dumped, guessed = _dump(path, container.format.name)
            facts: dict[int, tuple[Fact, ...]] = {}
            looked = False
            for position, each in enumerate(found):
                stream = each
                codec, _, side_data = dumped.get(stream.index, (None, None, []))
                if stream.codec == "unknown" and codec is not None:
                    stream = found[position] = replace(stream, codec=codec)
                raw = container.streams[stream.index]
                facts[stream.index] = (*_facts(stream, raw), *side_data)
                if stream.kind == "video" and not stream.attached_picture:
                    pictures = _look(
                        container, raw, duration if look_for_fields else None, again=looked
                    )
                    looked = True
                    if Untimed() in pictures.facts and stream.codec in {"h264", "hevc"}:
                        untimed = Untimed(() if look_for_fields else _tail(path, stream.index))
                        pictures.facts = tuple(
                            untimed if fact == Untimed() else fact for fact in pictures.facts
                        )
                    found[position] = replace(stream, turned=pictures.turned)
                    facts[stream.index] = _merged(facts[stream.index], pictures.facts)
            if guessed:
                found = _measured(path, found)
                duration = max((each.ends for each in found if each.ends), default=None)
            codec_tags = {index: tag for index, (_, tag, _) in dumped.items()}
            anew = _written_anew(container, found, codec_tags) if name == "mov" else {}
            tags = _tags(container) if name in _TAGGED else frozenset()
    except FFmpegError as error:
        raise EncodingError(
            f"{str(path)!r} is not a media file that can be read: it is damaged, incomplete or of "
            f"an unknown kind ({error.strerror})."
        ) from error
    except OSError as error:
        raise EncodingError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if name in _TEXT_FORMATS:
        _check_encoding(path)
    unfinished = _is_unfinished(path, name, identity.size)
    return MediaFile(path, name, duration, tuple(found), identity, facts, unfinished, anew, tags)


def _written_anew(
    container: InputContainer, streams: list[Stream], tags: dict[int, str | None]
) -> dict[int, Anew]:
    """Tell which tracks of an MP4 are the file's chapters, which are read as such, or its timecode.

    ``tags`` are the codec tags by index.
    """
    anew: dict[int, Anew] = {index: "timecode" for index, tag in tags.items() if tag == "tmcd"}
    chapters = len(container.chapters())
    texts = [each for each in streams if tags.get(each.index) == "text" and chapters]
    titles = [each.index for each in texts if each.codec == "bin_data"]
    if not titles:
        # Beside a timecode, older ffmpeg has no track refer to its chapters, which are then taken
        # for subtitles. Real ones have another tag in MP4, and in QuickTime are not as many.
        is_mp4 = container.metadata.get("major_brand") != "qt  "
        titles = [
            each.index
            for each in texts
            if each.codec == "mov_text"
            and not each.default
            and (is_mp4 or container.streams[each.index].frames == chapters)
        ]
    return anew | dict.fromkeys(titles, "chapters")


def _facts(stream: Stream, raw: Any) -> Iterator[Fact]:
    """Tell what the header of a stream says."""
    if stream.kind in {"video", "audio"}:
        yield Begins(stream.begins)
    if stream.language and stream.language != "und":
        yield Language(stream.language)
    if stream.title:
        yield Title(stream.title, renamed="title" not in {key.lower() for key in raw.metadata})
    purposes = {purpose.name for purpose in type(raw.disposition) if purpose in raw.disposition}
    yield from (Disposition(name) for name in _PURPOSES if name in purposes)
    if stream.kind == "audio":
        profile = (raw.codec_context and raw.codec_context.profile) or ""
        if is_lossless(stream.codec) or profile.startswith("DTS-HD MA"):
            yield Lossless(profile if stream.codec == "dts" else stream.codec)
    counted = tuple(name for name in raw.metadata if _STATISTICS.match(name))
    if counted:
        yield Statistics(counted)
    alpha = any(
        name.lower() == "alpha_mode" and value == "1" for name, value in raw.metadata.items()
    )
    pixels = stream.pixel_format or ""
    if alpha or pixels.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya")):
        yield Alpha()
    if stream.kind == "video" and not stream.attached_picture and stream.pixel_format:
        samples = Samples(max(8, stream.bit_depth), _chroma(stream.pixel_format))
        if samples != Samples(8, "4:2:0"):
            yield samples


def _tags(container: InputContainer) -> frozenset[str]:
    """List what somebody wrote about a file, and no program about itself."""
    names = (name.lower() for name in container.metadata)
    return frozenset(name for name in names if not _TECHNICAL.match(name))


def _chroma(pixels: str) -> Literal["4:2:0", "4:2:2", "4:4:4"]:
    """Tell how much colour a format has: less than 4:2:0, or none, loses nothing as 4:2:0."""
    import av

    known = av.VideoFormat(pixels)
    if known.is_rgb:
        return "4:4:4"
    width, height = known.chroma_width(4), known.chroma_height(4)
    if len(known.components) < 3 or width < 2 or height < 4:
        return "4:2:0"
    return "4:4:4" if width == 4 else "4:2:2"


@dataclass(slots=True)
class _Pictures:
    turned: bool = False
    facts: tuple[Fact, ...] = ()


def _look(container: InputContainer, raw: Any, duration: float | None, *, again: bool) -> _Pictures:
    """Decode the first pictures of a video stream, and some later ones if its length is given.

    ``again`` says that the file has been read from already, which a bare stream cannot be twice.
    """
    from av.error import FFmpegError

    found = _Pictures()
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
        found.turned = getattr(first, "rotation", 0) % 180 == 90
        facts += _colours(first, said_outside, context)
        names = dict.fromkeys(side.type.name for frame in frames for side in frame.side_data)
        facts += [SideData(name) for name in names if name not in _UNREMARKABLE]
        times = [frame.pts for frame in frames]
        if None in times or any(one > other for one, other in itertools.pairwise(times)):
            facts.append(Untimed())
    order = _ORDERS.get(raw.codec_context.field_order)
    said = order is not None or any(frame.interlaced_frame for frame in frames)
    possible = raw.codec_context.height <= _HIGHEST_INTERLACED
    possible = possible and (raw.average_rate or 0) <= _FASTEST_INTERLACED
    shape = _shape(frames[0], context) if frames else None
    looked = _look_inside(container, raw, shape, duration if said or possible else None)
    interlaced = _fields(looked.fields, said, order)
    facts += [interlaced] if interlaced else []
    facts += [Reshaped()] if looked.reshaped else []
    facts += [VariableRate()] if _is_variable(raw, looked.shortest) else []
    found.facts = tuple(facts)
    return found


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
    if first.format.is_rgb:
        matrix = said[2]  # none, which is what 0 means then
    if (primaries, trc, matrix) != said:
        yield Untagged(primaries, trc, matrix)
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
    of another shape than the first picture.
    """

    fields: dict[str, float] = field(default_factory=dict)
    shortest: float | None = None
    reshaped: bool = False


def _shape(frame: Any, context: Any) -> tuple[int, int, Any]:
    """Give the size of a picture that was just decoded, and the shape of its pixels."""
    return frame.width, frame.height, context.sample_aspect_ratio or 1


def _look_inside(
    container: InputContainer, raw: Any, shape: tuple[int, int, Any] | None, duration: float | None
) -> _Inside:
    """Look at some windows of a film, if its length is known: how many pictures are combed."""
    import av
    from av.error import FFmpegError

    found = _Inside()
    for share in _WINDOWS if duration else ():
        graph = av.filter.Graph()
        source, idet = graph.add_buffer(template=raw), graph.add("idet", "rep_thres=1.5")
        sink = graph.add("buffersink")
        source.link_to(idet)
        idet.link_to(sink)
        last: dict[str, str] = {}
        before: float | None = None
        try:
            graph.configure()
            container.seek(int((duration or 0.0) * share * 1_000_000 + (container.start_time or 0)))
            for frame in itertools.islice(container.decode(raw), _WINDOW_PICTURES):
                if shape is not None and _shape(frame, raw.codec_context) != shape:
                    found.reshaped = True
                graph.push(frame)
                if before is not None and frame.time is not None and frame.time > before:
                    gap = frame.time - before
                    found.shortest = gap if found.shortest is None else min(gap, found.shortest)
                before = frame.time
                try:
                    last = graph.pull().metadata
                except (av.error.BlockingIOError, av.error.EOFError):
                    continue
        except (FFmpegError, OSError, ValueError, IndexError):
            continue  # it cannot be sought in, or is damaged there, which may show a new stream
        for name, value in last.items():
            known = name.removeprefix("lavfi.idet.")
            if known.startswith(("repeated.", "multiple.")) and "current" not in known:
                found.fields[known] = found.fields.get(known, 0.0) + float(value)
    return found


def _tail(path: Path, index: int) -> tuple[tuple[int, int], ...]:
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


def _merged(stream: tuple[Fact, ...], pictures: tuple[Fact, ...]) -> tuple[Fact, ...]:
    return (*stream, *(fact for fact in pictures if fact not in stream))


def _measured(path: Path, streams: list[Stream]) -> list[Stream]:
    """Read a file that does not tell its length, for the time that its packets take."""
    from av.error import FFmpegError

    lasting: dict[int, float] = collections.defaultdict(float)
    # Where it is damaged, ffmpeg will say so.
    with contextlib.suppress(FFmpegError), open_input(path) as container:
        for packet in container.demux():
            lasting[packet.stream_index] += (packet.duration or 0) * float(packet.time_base or 0)
    return [replace(each, duration=lasting[each.index] or None) for each in streams]


def _dump(path: Path, kinds: str) -> tuple[dict[int, tuple[str, str | None, list[Fact]]], bool]:
    """Have ffmpeg tell what PyAV does not: codec, tag and side data of each stream.

    Also whether the length that it tells is a guess, from the size and what a second takes of it.
    """
    try:
        argv = [str(companion()), "-hide_banner", "-nostdin", "-f", kinds.split(",")[0]]
        argv += ["-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
        said = subprocess.run(
            argv, capture_output=True, check=False, timeout=_DUMP_SECONDS, env=environment()
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return {}, False
    streams: dict[int, tuple[str, str | None, list[Fact]]] = {}
    facts: list[Fact] = []
    for line in said.decode(errors="replace").splitlines():
        if stream := _DUMPED.match(line):
            facts = []
            streams[int(stream["index"])] = (stream["codec"], stream["tag"], facts)
        elif dolby := _DOLBY_VISION.search(line):
            # Without one, as profile 5 has it, what a decoder gives is green and purple.
            facts.append(DolbyVision(int(dolby["profile"]), fallback=dolby["base"] != "0"))
        elif (side := _DUMPED_SIDE_DATA.match(line)) and side["name"] not in _UNREMARKABLE:
            name = _SAME.get(side["name"])
            facts += [SideData(name)] if name else []
    return streams, _GUESSED.search(said) is not None


def _is_unfinished(path: Path, name: str, size: int) -> bool:
    """Tell whether a file ends in the middle, of those kinds that do not tell their length."""
    with path.open("rb") as file:
        head = file.read(1024)
        file.seek(max(0, size - _LARGEST_PAGES))
        tail = file.read()
        match name:
            case "mpegts":
                starts = ((0, 188), (4, 192), (0, 204))
                steps = [step for at, step in starts if head[at::step][:4] == b"GGGG"]
                return bool(steps) and size % steps[0] != 0
            case "flv":  # each tag ends with its size
                last = int.from_bytes(tail[-4:])
                file.seek(max(0, size - 4 - last + 1))
                return int.from_bytes(file.read(3)) != last - 11
            case "ogg":
                page = tail[tail.rfind(b"OggS") :]
                segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
                whole = len(page) >= 27 + len(segments) + sum(segments)
                return not (segments and whole and page[5] & 4)  # the mark of a stream's end
    return False


def _regular_file(path: Path) -> Identity:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise EncodingError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        raise EncodingError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise EncodingError(f"{str(path)!r} is not a file.")
    if status.st_size == 0:
        raise EncodingError(f"{str(path)!r} is empty.")
    if not os.access(path, os.R_OK):
        raise EncodingError(f"{str(path)!r} cannot be read: permission is denied.")
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _check_encoding(path: Path) -> None:
    """Refuse text that ffmpeg would mangle or drop, line by line, and still end well."""
    text = path.read_bytes()
    if text.startswith(_UTF16_MARKS):
        return
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise EncodingError(
            f"The subtitles in {str(path)!r} are not in UTF-8: convert them first, for example "
            "with iconv."
        ) from None
