"""Which streams go into the output, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from haas_media.encoding.containers import BITMAP_SUBTITLES, TEXT_SUBTITLES, Container, container_of
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.facts import is_lossless
from haas_media.encoding.losses import Change, Fate, decide
from haas_media.encoding.probe import TAGGED, on_one_clock
from haas_media.encoding.request import CODEC_NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from haas_media.encoding.probe import MediaFile
    from haas_media.encoding.request import EncodeRequest
    from haas_media.probe.streams import Stream

COPY = "copy"
_MOST_OF_FLAC = 8  # channels


@dataclass(frozen=True, slots=True)
class Track:
    """A stream of the output: where it comes from and what it becomes.

    ``file`` counts the inputs from 0. ``action`` is ``copy``, the codec for video, or the name of
    ffmpeg's encoder for everything else. ``codec`` is what the output then holds.
    """

    file: int
    stream: Stream
    action: str
    codec: str
    fates: tuple[Fate, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of stream."""
        return self.stream.kind


@dataclass(frozen=True, slots=True)
class Plan:
    """An encoding settled to the last stream.

    ``duration`` is what is expected, in seconds; ``main`` the input whose title and chapters are
    the output's; ``notes`` say what is converted, ``warnings`` what is lost.
    """

    inputs: tuple[MediaFile, ...]
    tracks: tuple[Track, ...]
    container: Container
    height: int | None
    duration: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    main: int = 0
    crf: float | None = None

    @property
    def begins(self) -> float:
        """The first timestamp of all, in seconds after that of its file."""
        timed = [each.stream.begins for each in self.tracks if each.kind in {"video", "audio"}]
        return min(timed, default=0.0)

    @property
    def video(self) -> tuple[Track, ...]:
        """The video tracks."""
        return tuple(track for track in self.tracks if track.kind == "video")

    @property
    def bit_depth(self) -> int:
        """The highest bit depth among the video to be encoded."""
        return max((track.stream.bit_depth for track in self.video), default=8)


def make_plan(
    request: EncodeRequest, inputs: Sequence[MediaFile], encoders: Collection[str]
) -> Plan:
    """Decide on every stream of the output.

    ``inputs`` are the probed files in the order in which the request names them, each once;
    ``encoders`` the names that this ffmpeg has. Raises EncodingError with a sentence.
    """
    container = container_of(request.output)
    warnings = [
        f"{media.path.name!r} ends in the middle, after {media.duration or 0.0:.1f} s: it has been "
        "longer, or is still being written."
        for media in inputs
        if media.unfinished
    ]
    if request.streams is None:
        chosen = [(0, stream) for stream in _worth_taking(inputs[0], container, warnings)]
    else:
        chosen = _named(request, inputs)
    if not any(stream.kind in {"video", "audio"} for _, stream in chosen):
        raise EncodingError("None of the streams is video or audio: there is nothing to encode.")
    if request.video_codec != COPY and not any(stream.kind == "video" for _, stream in chosen):
        raise EncodingError(
            "None of the streams is video, so there is nothing to encode as "
            f"{CODEC_NAMES[request.video_codec]}: with video_codec 'copy' the rest is taken alone."
        )
    _refuse_bitmaps(chosen, container)
    films = [file for kind in ("video", "audio") for file, each in chosen if each.kind == kind]
    inputs = on_one_clock(inputs, films[0])
    chosen = [(file, inputs[file].streams[stream.index]) for file, stream in chosen]
    tracks = []
    for file, stream in chosen:
        action, codec = _action(stream, request.video_codec, container, encoders)
        facts = inputs[file].facts.get(stream.index, ())
        change = Change(stream, request, container, None if action == COPY else codec)
        decided = decide(change, facts)
        tracks.append(Track(file, stream, action, codec, decided))
    warnings += [
        f"Subtitles {track.stream.index} lose their styles as {track.codec}."
        for track in tracks
        if track.stream.codec in {"ass", "ssa"} and track.action != COPY
    ]
    fates = [fate for track in tracks for fate in track.fates]
    warnings += [fate.says for fate in fates if fate.says and fate.what == "dropped"]
    # Bare pictures have no place for a title.
    described = (file for file in films if inputs[file].format in TAGGED)
    return Plan(
        inputs,
        tuple(tracks),
        container,
        request.height,
        _expected_duration(inputs, tracks),
        tuple(warnings),
        tuple(fate.note for fate in fates if fate.note),
        next(described, films[0]),
        request.constant_quality,
    )


def _worth_taking(media: MediaFile, container: Container, warnings: list[str]) -> list[Stream]:
    taken, left = [], []
    for stream in media.streams:
        if _is_written_anew(media, stream, container):
            continue
        wanted = stream.kind in {"video", "audio"} and not stream.attached_picture
        wanted = wanted and stream.is_known
        if stream.kind == "subtitle":
            wanted = stream.codec in container.subtitles | TEXT_SUBTITLES | BITMAP_SUBTITLES
        if wanted or (stream.kind == "attachment" and container.attachments):
            taken.append(stream)
        elif stream.attached_picture:
            left.append(f"{stream.index} (a picture, not video)")
        else:
            codec = "" if stream.codec in {"unknown", "none"} else f" {stream.codec}"
            codec = " timecode" if stream.index in media.anew else codec
            left.append(f"{stream.index} ({stream.kind}{codec})")
    pictures = [each for each in media.streams if each.kind == "video"]
    unseen = [each for each in pictures if not (each.is_known or each.attached_picture)]
    if unseen and not any(each in taken for each in pictures):
        raise EncodingError(
            f"Video {unseen[0].index} has nothing that can be decoded here: to take the rest, name "
            "its streams."
        )
    if left:
        noun = "Stream" if len(left) == 1 else "Streams"
        warnings.append(f"{noun} left out: {', '.join(left)}.")
    # Matroska lists its attachments after everything else.
    return sorted(taken, key=lambda stream: stream.kind == "attachment")


def _is_written_anew(media: MediaFile, stream: Stream, container: Container) -> bool:
    """Tell whether the output has the same without the stream."""
    anew = media.anew.get(stream.index)
    return anew == "chapters" or (anew == "timecode" and container.is_quicktime)


def _named(request: EncodeRequest, inputs: Sequence[MediaFile]) -> list[tuple[int, Stream]]:
    order = input_names(request)
    chosen = []
    for ref in request.streams or ():
        file = order.index(ref.input)
        streams = inputs[file].streams
        if ref.index >= len(streams):
            held = "; ".join(f"{each.index}: {each.describe()}" for each in streams)
            raise EncodingError(f"{ref.input!r} has no stream {ref.index}. It holds {held}.")
        stream = streams[ref.index]
        wrong = None
        if stream.attached_picture:
            wrong = "is an attached picture, not video"
        elif not stream.is_known:
            wrong = f"({stream.describe()}) has nothing that can be decoded"
        elif stream.kind not in {"video", "audio", "subtitle"}:
            wrong = f"is {stream.kind}, not video, audio or subtitles"
        if wrong:
            raise EncodingError(f"Stream {ref.index} of {ref.input!r} {wrong}: leave it out.")
        chosen.append((file, stream))
    return chosen


def input_names(request: EncodeRequest) -> list[str]:
    """List the input files in the order in which they are first named, each once."""
    if request.source is not None:
        return [request.source]
    return list(dict.fromkeys(ref.input for ref in request.streams or ()))


def _refuse_bitmaps(chosen: list[tuple[int, Stream]], container: Container) -> None:
    pictures = [
        stream
        for _, stream in chosen
        if stream.codec in BITMAP_SUBTITLES and stream.codec not in container.subtitles
    ]
    if pictures:
        which = ", ".join(f"{each.index} ({each.codec})" for each in pictures)
        raise EncodingError(
            f"{container.name} holds text subtitles only, and these are pictures: stream {which}. "
            "Choose an .mkv output, or name the streams without them."
        )


def _action(
    stream: Stream, video_codec: str, container: Container, encoders: Collection[str]
) -> tuple[str, str]:
    """Say what is done with a stream, and the codec that the output then holds."""
    where = f"{container.name} does not hold {stream.codec} {stream.kind}"
    match stream.kind:
        case "video" if video_codec != COPY:
            return video_codec, video_codec
        case "video" if stream.codec not in container.video:
            instead = "" if container.attachments else ", or an .mkv output"
            raise EncodingError(
                f"{where} (stream {stream.index}), so it cannot be copied: choose a video codec"
                f"{instead}."
            )
        case "audio" if not _holds_audio(container, stream):
            candidates = list(container.audio_encoders)
            # FLAC takes no more room than what was lossless, too; QuickTime has no such codec.
            compresses = container.lossless_encoder == "flac"
            kept = is_lossless(stream.codec) if compresses else stream.codec.startswith("pcm_")
            if kept and container.lossless_encoder is not None:
                wide = container.wide.get(stream.codec, container.lossless_encoder)
                more = wide == "flac" and stream.channels > _MOST_OF_FLAC
                candidates.insert(0, "pcm_s24le" if more else wide)
            for encoder in candidates:
                if encoder in encoders:
                    return encoder, encoder.removeprefix("lib")
            raise EncodingError(
                f"{where} (stream {stream.index}), and this ffmpeg has no encoder for what it "
                f"holds ({', '.join(container.audio_encoders)}): choose an .mkv output, or set "
                "HAAS_FFMPEG to a full ffmpeg."
            )
        case "audio" if is_timed_by_samples(container, stream.codec) and stream.codec in encoders:
            return stream.codec, stream.codec
        case "subtitle" if stream.codec not in container.subtitles:
            if stream.codec in TEXT_SUBTITLES:
                return container.subtitle_encoder, container.subtitle_encoder
            raise EncodingError(
                f"{where}s (stream {stream.index}), and they cannot be converted: name the streams "
                "without them."
            )
    return COPY, stream.codec


def is_timed_by_samples(container: Container, codec: str) -> bool:
    """Tell whether nothing but its samples says when sound is heard: a gap has to be filled."""
    return container.muxer == "mov" and codec.startswith("pcm_")


def _holds_audio(container: Container, stream: Stream) -> bool:
    lowest = container.lowest_rate.get(stream.codec, 0)
    return stream.codec in container.audio and (stream.sample_rate or lowest) >= lowest


def _expected_duration(inputs: Sequence[MediaFile], tracks: Sequence[Track]) -> float | None:
    """Work out how long the output has to be: as the longest of its video and audio.

    A stream that does not tell its own length may be as long as its file.
    """
    lengths = [
        track.stream.ends or inputs[track.file].duration
        for track in tracks
        if track.kind in {"video", "audio"}
    ]
    known = [length for length in lengths if length is not None]
    return max(known) if known and len(known) == len(lengths) else None
