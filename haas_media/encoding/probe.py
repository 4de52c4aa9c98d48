"""What an input is: one record, which the plan is made from and the output's is held against."""

from __future__ import annotations

import collections
import contextlib
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
    Channels,
    Disposition,
    DolbyVision,
    Fact,
    Language,
    Lossless,
    Samples,
    SideData,
    Statistics,
    Title,
    Untimed,
    is_lossless,
)
from haas_media.encoding.ffmpeg import companion, environment
from haas_media.encoding.pictures import UNREMARKABLE, look, look_at_end
from haas_media.probe.streams import PATIENTLY, Stream, open_input, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from av.container import InputContainer

# Where a picture is, and how long the file, is told by nothing but its clock, which may jump.
CLOCKED = {"mpegts", "mpeg"}
# Containers that say when each picture is shown, by a clock that begins at 0.
TIMED = {"mov", "matroska"}
_TEXT_FORMATS = {"srt", "ass", "webvtt", "microdvd", "mpsub", "mpl2", "subviewer", "sami", "stl"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Containers whose global tags are a film's; others count bytes and name programs in them.
TAGGED = {"matroska", "mov", "avi", "ogg"}
_TECHNICAL = re.compile(
    r"(encoder|encoding_tool|software|major_brand|minor_version|compatible_brands|creation_time"
    r"|timecode|duration)(-\w+)?$"
)
# What MP4 adds to those for the impaired, captions and descriptions, is the same said twice.
_PURPOSES = ("dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired")
_STATISTICS = re.compile(
    r"(?i)^((BPS|NUMBER_OF_BYTES|NUMBER_OF_FRAMES|_STATISTICS_\w+?)(-\w+)?|DURATION-\w+)$"
)
_DUMPED = re.compile(
    r"^ *Stream #0:(?P<index>\d+)[^:]*: (?P<kind>\w+): (?P<codec>\w+)(.*?\((?P<tag>\w+) / 0x)?"
)
_DUMPED_SIDE_DATA = re.compile(r"^      (?P<name>\w[\w ().-]*?)(: |$)")
_GUESSED = re.compile(rb"^\[[^\]]*\] Estimating duration from bitrate", re.MULTILINE)
_DOLBY_VISION = re.compile(r"DOVI .*profile: (?P<profile>\d+),.* compatibility id: (?P<base>\d+)")
# What the stream and its pictures both say, under two names.
_SAME = {
    "Mastering Display Metadata": "MASTERING_DISPLAY_METADATA",
    "Content Light Level Metadata": "CONTENT_LIGHT_LEVEL",
    "stereo3d": "STEREO3D",
    "spherical": "SPHERICAL",
}
_LARGEST_PAGES = 2 * 65536
_DUMP_SECONDS = 60

# What a muxer writes by itself from a file's chapters, or from the timecode in a stream's tags.
Anew = Literal["chapters", "timecode"]


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What a file is. ``format`` is the demuxer's short name, ``duration`` in seconds.

    ``facts`` are those of each stream, by its index. ``unfinished`` says that the file ends in the
    middle of something, though it does not tell how long it was to be. ``anew`` are the streams in
    which MP4 keeps what is no stream elsewhere, by index; ``tags`` the names, in small letters, of
    what somebody wrote about all of it, ``retold`` those that stand in its tracks; ``chapters`` the
    titles of its chapters, empty for those without. ``start`` is its first timestamp, in seconds,
    where its clock begins at 0, ``late`` how much later than the main input it begins.
    """

    path: Path
    format: str
    duration: float | None
    streams: tuple[Stream, ...]
    status: os.stat_result
    facts: dict[int, tuple[Fact, ...]] = field(default_factory=dict)
    unfinished: bool = False
    anew: dict[int, Anew] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    retold: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[str, ...] = ()
    start: float = 0.0
    late: float = 0.0

    def is_as_it_was(self) -> bool:
        """Tell whether nobody has written to the file, or replaced it, since it was read."""
        names = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
        try:
            now = self.path.stat()
        except OSError:
            return False
        return all(getattr(now, name) == getattr(self.status, name) for name in names)


def read_argv(path: Path, kind: str) -> list[str]:
    """List what has ffmpeg read one file, its checksums included, and nothing else."""
    argv = ["-err_detect", "crccheck", "-f", kind, "-protocol_whitelist", "file,pipe"]
    for name, value in PATIENTLY.items() if kind in CLOCKED else ():
        argv += [f"-{name}", value]
    return [*argv, "-i", f"file:{path}"]


def probe(path: Path, *, look_for_fields: bool = False) -> MediaFile:
    """Read what a file is: its streams, and the facts of each.

    The first pictures of each video stream are decoded; with ``look_for_fields`` also some in the
    middle, which alone tell whether they are really made of fields. Raises EncodingError.
    """
    status = _regular_file(path)
    from av.error import FFmpegError

    try:
        with open_input(path, patient=True) as container:
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
                if stream.kind == "video" and stream.is_known and not stream.attached_picture:
                    length = duration if look_for_fields else None
                    turned, seen = look(container, raw, length, again=looked)
                    looked = True
                    if Untimed() in seen and stream.codec in {"h264", "hevc"}:
                        tail = () if look_for_fields else look_at_end(path, stream.index)
                        seen = [Untimed(tail) if fact == Untimed() else fact for fact in seen]
                    found[position] = replace(stream, turned=turned)
                    said = facts[stream.index]
                    facts[stream.index] = (*said, *(fact for fact in seen if fact not in said))
            if guessed:
                found = _measured(path, found)
                duration = max((each.ends for each in found if each.ends), default=None)
            codec_tags = {index: tag for index, (_, tag, _) in dumped.items()}
            anew = _written_anew(container, found, codec_tags) if name == "mov" else {}
            tags = _tags(container.metadata) if name in TAGGED else frozenset()
            retold: dict[str, str] = {}
            if name == "ogg":  # whose tracks each have what is known of the film
                for raw in container.streams:
                    kept = _tags(raw.metadata) - {"language"}
                    retold |= {k: v for k, v in raw.metadata.items() if k.lower() in kept}
            told = (each["metadata"] for each in container.chapters())
            chapters = tuple(each.get("title", "") for each in told)
    except FFmpegError as error:
        raise EncodingError(
            f"{str(path)!r} is not a media file that can be read: it is damaged, incomplete or of "
            f"an unknown kind ({error.strerror})."
        ) from error
    except OSError as error:
        raise EncodingError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if name in _TEXT_FORMATS:
        _check_encoding(path)
    unfinished = _is_unfinished(path, name, status.st_size)
    return MediaFile(
        path,
        name,
        duration,
        tuple(found),
        status,
        facts,
        unfinished,
        anew,
        tags.union(map(str.lower, retold)),
        retold,
        chapters,
        known.start if name in TIMED else 0.0,
    )


def on_one_clock(inputs: Sequence[MediaFile], main: int) -> tuple[MediaFile, ...]:
    """Have inputs that begin later than the main one, by clocks that all begin at 0, stay late."""
    return tuple(_late(media, media.start - inputs[main].start) for media in inputs)


def _late(media: MediaFile, seconds: float) -> MediaFile:
    if seconds <= 0:
        return media
    streams = (replace(each, begins=each.begins + seconds) for each in media.streams)
    facts = {
        index: tuple(
            Begins(each.seconds + seconds) if isinstance(each, Begins) else each for each in known
        )
        for index, known in media.facts.items()
    }
    return replace(media, streams=tuple(streams), facts=facts, late=seconds)


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
        yield Channels(stream.channels)
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


def _tags(metadata: Mapping[str, str]) -> frozenset[str]:
    """List what somebody wrote about a file, and no program about itself."""
    names = (name.lower() for name in metadata)
    return frozenset(
        name for name in names if not (_TECHNICAL.match(name) or _STATISTICS.match(name))
    )


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
        argv = [str(companion()), "-hide_banner", "-nostdin", *read_argv(path, kinds.split(",")[0])]
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
        elif (side := _DUMPED_SIDE_DATA.match(line)) and side["name"] not in UNREMARKABLE:
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
            case "dv":  # whose pictures all have one size, that of 576 lines or that of 480
                return size % (144_000 if head[3] & 0x80 else 120_000) != 0
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


def _regular_file(path: Path) -> os.stat_result:
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
    return status


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
