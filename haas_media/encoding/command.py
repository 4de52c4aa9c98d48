"""The ffmpeg command of an encoding. Pure: a plan in, an argv list out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_media.encoding.facts import Disposition, is_lossless
from haas_media.encoding.ffmpeg import LOGGED
from haas_media.encoding.losses import TONE_MAP
from haas_media.encoding.plan import COPY, is_timed_by_samples
from haas_media.encoding.probe import TIMED, read_argv

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.encoding.encoders import Encoder
    from haas_media.encoding.plan import Plan, Track
    from haas_media.encoding.request import EncodeRequest
    from haas_media.probe.streams import Stream

# Of lossy encoders.
_MOST_CHANNELS = 8
_MOST_PLAYED = 5  # in whatever arrangement
_LETTERS = {"video": "v", "audio": "a", "subtitle": "s", "attachment": "t"}


def build_argv(
    ffmpeg: Path, request: EncodeRequest, plan: Plan, encoder: Encoder | None, target: Path
) -> list[str]:
    """List the whole command that writes ``target``.

    ``encoder`` is None when video is copied. No name is ever taken for an option, a pattern or a
    URL: each is absolute, after ``file:``, and its container is named rather than guessed.
    """
    argv = [str(ffmpeg), *LOGGED, "-y"]
    if encoder is not None:
        argv += encoder.global_arguments()
    for number, media in enumerate(plan.inputs):
        copies = any(track.file == number and track.action == COPY for track in plan.video)
        if copies and media.format not in TIMED:
            argv += ["-fflags", "+genpts"]
        argv += ["-itsoffset", f"{media.late:.3f}"] if media.late else []
        argv += read_argv(media.path, media.format)
    for track in plan.tracks:
        argv += ["-map", f"{track.file}:{track.stream.index}"]
    argv += ["-map_metadata", f"{plan.main}", "-map_chapters", f"{plan.main}"]
    for name, value in plan.inputs[plan.main].retold.items():
        argv += ["-metadata", f"{name}={value}"]
    for number, title in enumerate(plan.inputs[plan.main].chapters):
        # One without is left out there, and those around it move.
        if plan.container.is_quicktime and not title:
            argv += [f"-metadata:c:{number}", f"title=Chapter {number + 1}"]
    argv += _video(request, plan, encoder)
    argv += _others(plan)
    argv += _dispositions(plan)
    for position, track in enumerate(plan.tracks):
        for fate in track.fates:
            for name, value in fate.metadata:
                argv += [f"-metadata:s:{position}", f"{name}={value}"]
    argv += [*plan.container.options, "-f", plan.container.muxer, f"file:{target}"]
    return argv


def _video(request: EncodeRequest, plan: Plan, encoder: Encoder | None) -> list[str]:
    if not plan.video:
        return []
    argv = ["-c:v", COPY if encoder is None else encoder.name]
    if encoder is not None:
        argv += encoder.rate_arguments(plan.crf, request.video_bitrate)
        for position, track in enumerate(plan.video):
            argv += _picture(position, track, plan.height, encoder)
    for position, track in enumerate(plan.video):
        for fate in track.fates:
            for name, value in fate.options:
                # What is unofficial is the muxer's to write, not an encoder's.
                argv += ["-strict" if name == "strict" else f"-{name}:v:{position}", value]
    if plan.container.is_quicktime:
        for position, track in enumerate(plan.video):
            if track.codec == "hevc":
                # Apple's players know HEVC in MP4 under this tag only.
                argv += [f"-tag:v:{position}", "hvc1"]
    return argv


def _picture(position: int, track: Track, height: int | None, encoder: Encoder) -> list[str]:
    stream = track.stream
    filters = filters_of(track, height)
    upload = encoder.upload_filters(stream.bit_depth)
    filters += upload
    argv = [] if upload else [f"-pix_fmt:v:{position}", encoder.pixel_format(stream.bit_depth)]
    return [*argv, f"-filter:v:{position}", ",".join(filters)] if filters else argv


def filters_of(track: Track, height: int | None) -> list[str]:
    """List what is done to the pictures: fields first, which scaling would blend."""
    filters = [each for fate in track.fates for each in fate.filters]
    filters += _sizing(track.stream, height)
    return [*filters, *(TONE_MAP for fate in track.fates if fate.tone_map)]


def _sizing(stream: Stream, height: int | None) -> list[str]:
    """Scale down, never up, to an even size; else cut an odd row or column off."""
    width_shown, height_shown = stream.shown_size
    if height is not None and height_shown > height:
        # Rounding to an even width would else be made up for by pixels a hair off square, which
        # some players take for an anamorphic picture.
        square = ["setsar=1"] if stream.square_pixels else []
        return [f"scale=-2:{height}", *square]
    if width_shown % 2 or height_shown % 2:
        return ["crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0"]
    return []


def _others(plan: Plan) -> list[str]:
    argv: list[str] = []
    for kind in ("audio", "subtitle", "attachment"):
        tracks = [track for track in plan.tracks if track.kind == kind]
        for position, track in enumerate(tracks):
            where = f"{_LETTERS[kind]}:{position}"
            argv += [f"-c:{where}", track.action]
            if track.codec == "flac" and plan.container.muxer == "mp4":  # for ffmpeg before 6
                argv += ["-strict", "experimental"]
            if is_timed_by_samples(plan.container, track.action):
                argv += [f"-filter:{where}", "aresample=async=1"]
            elif kind == "audio" and track.action != COPY:
                argv += _audio_quality(where, track)
    return argv


def _dispositions(plan: Plan) -> list[str]:
    """Where none of several tracks is the default, keep ffmpeg from making the first one so."""
    argv: list[str] = []
    for kind in ("video", "audio", "subtitle"):
        tracks = [track for track in plan.tracks if track.kind == kind]
        if len(tracks) < 2 or any(track.stream.default for track in tracks):
            continue
        for position, track in enumerate(tracks):
            facts = [fate.fact for fate in track.fates]
            names = [fact.name for fact in facts if isinstance(fact, Disposition)]
            argv += [f"-disposition:{_LETTERS[kind]}:{position}", "+".join(names) or "0"]
    return argv


def _audio_quality(where: str, track: Track) -> list[str]:
    if is_lossless(track.action):
        return []
    channels = min(track.stream.channels or 2, _MOST_CHANNELS)
    argv = [f"-b:{where}", f"{max(96, 64 * channels)}k"]
    if track.action == "libopus" or channels > _MOST_PLAYED:
        # Opus knows these layouts only; 5.1 with side speakers is among those it refuses, and AAC
        # describes it in a way that players take for another, or do not know. Left the choice,
        # ffmpeg makes stereo of 2.1.
        layouts = "stereo|mono" if channels <= 2 else "5.1" if channels <= 6 else "7.1"
        argv += [f"-filter:{where}", f"aformat=channel_layouts={layouts}"]
    return argv
