"""Whether what ffmpeg left is a whole file. Its exit code 0 alone is no success."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from haas_media.encoding.errors import EncodingError
from haas_media.encoding.probe import MediaFile, identify, probe

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.encoding.plan import Plan
    from haas_media.encoding.runner import Finished

_PREFIX = re.compile(r"^(\[[^\]]*\] ?)+")
_SEVERITY = re.compile(r"\[(?P<level>fatal|error|warning)\]")
# Looked for at the end of a message: a file may be called anything.
_CUT_SHORT = re.compile(r"(: partial file|File ended prematurely( at pos\. .*)?)$")
# What a disk or a network that fails says, whatever the version of ffmpeg.
_UNREADABLE = re.compile(
    r"\[error\] .*: (?P<why>Input/output error|Stale file handle|Connection timed out"
    r"|Transport endpoint is not connected|Host is down|No such device)$"
)
# After this nothing more is read of an input; whether much was missing, its length has to tell.
_GAVE_UP = re.compile(r"^\[in#[^\]]*\] \[error\] Error during demuxing: ")
_DISK_FULL = re.compile(r"(No space left on device|Disk quota exceeded|File too large)\.?$")
_NOT_UTF8 = re.compile(r"\] Invalid UTF-8 in decoded subtitles text")

# What encoders add or drop at the ends: priming samples, reordered frames, rounding.
_TOLERANCE_SECONDS = 0.5
_LENGTH_WORTH_SAYING_SECONDS = 1.0


def check_run(finished: Finished, plan: Plan, target: Path) -> None:
    """Check how ffmpeg ended. Raises EncodingError with the reason in a sentence."""
    messages = finished.messages
    if _any(_DISK_FULL, messages):
        raise EncodingError(
            f"There is no room for the output in {str(target.parent)!r}: free some space and run "
            "it again."
        )
    if _any(_NOT_UTF8, messages):
        raise EncodingError(
            "Subtitles are not in UTF-8 and would be lost: convert them, or name the streams "
            "without them."
        )
    if finished.returncode != 0:
        raise EncodingError(f"ffmpeg failed ({_exit(finished.returncode)}): {_reason(messages)}.")
    if not finished.last.ended:
        raise EncodingError(
            "ffmpeg ended without saying that it was done, so its output is not used."
        )
    unreadable = next(filter(None, map(_UNREADABLE.search, messages)), None)
    if unreadable is not None:
        raise EncodingError(
            f"An input could not be read to its end ({unreadable['why']}): check its disk or "
            "network, and run it again."
        )
    if plan.duration is None and _any(_GAVE_UP, messages):
        raise EncodingError(
            f"An input could not be read to its end: {_reason(messages)}. It does not tell its "
            "length, so nobody knows how much is missing: check it."
        )
    if _any(_CUT_SHORT, messages):
        raise EncodingError(f"An input ends too early: {_reason(messages)}. Is it complete?")
    for media in plan.inputs:
        _check_unchanged(media)
    _check_length("ffmpeg worked through", finished.last.out_time, plan.duration, plan)


def check_output(path: Path, plan: Plan) -> MediaFile:
    """Probe the output and compare it with the plan. Raises EncodingError."""
    try:
        media = probe(path)
    except EncodingError as error:
        raise EncodingError(f"The output is not a whole file: {error}") from error
    wanted = [track.codec for track in plan.tracks if track.kind != "attachment"]
    found = [
        stream.codec for stream in media.streams if stream.kind in {"video", "audio", "subtitle"}
    ]
    if wanted != found:
        raise EncodingError(
            f"The output holds {', '.join(found) or 'nothing'} instead of {', '.join(wanted)}, so "
            "it is not used."
        )
    _check_length("The output holds", media.duration, plan.duration, plan)
    for track, stream in zip(plan.tracks, media.streams, strict=False):
        if track.kind in {"video", "audio"} and stream.duration is not None:
            _check_length(
                f"The output's {track.kind} holds", stream.duration, track.stream.duration, plan
            )
    return media


def warnings_of(finished: Finished, media: MediaFile, plan: Plan) -> list[str]:
    """Say what is no reason to refuse the output, but to have a look at it."""
    return [*_errors_met(finished), *_length_gained(media, plan)]


def _length_gained(media: MediaFile, plan: Plan) -> list[str]:
    if plan.duration is None or media.duration is None:
        return []
    # Subtitles may go on when the film is over.
    longest = max([plan.duration, *(each.duration or 0.0 for each in plan.inputs)])
    if media.duration < longest + _LENGTH_WORTH_SAYING_SECONDS:
        return []
    return [
        f"The output is {media.duration:.1f} s long, but the source says that it has "
        f"{longest:.1f} s."
    ]


def _errors_met(finished: Finished) -> list[str]:
    errors = [line for line in finished.messages if _level(line) in {"error", "fatal"}]
    if not errors:
        return []
    more = finished.lines > len(finished.messages)
    number = f"{'more than ' if more else ''}{len(errors)}"
    return [
        f"ffmpeg met {number} error{'s' * (len(errors) > 1)} in what it read, so a part of it may "
        f"be damaged; the first: {_plain(errors[0])}."
    ]


def _check_unchanged(media: MediaFile) -> None:
    try:
        same = identify(media.path) == media.identity
    except OSError:
        same = False
    if not same:
        raise EncodingError(
            f"{str(media.path)!r} was changed while it was being read: run it again once nothing "
            "writes to it."
        )


def _check_length(what: str, seconds: float | None, expected: float | None, plan: Plan) -> None:
    if expected is None:
        return
    frames = [track.stream.frame_rate for track in plan.video if track.stream.frame_rate]
    # The last frames' own length is not part of a last timestamp.
    tolerance = max([_TOLERANCE_SECONDS, *(3 / rate for rate in frames)])
    if (seconds or 0.0) < expected - tolerance:
        raise EncodingError(
            f"{what} {seconds or 0.0:.1f} s of {expected:.1f} s, so an input is truncated or "
            "damaged: check it."
        )


def _any(pattern: re.Pattern[str], messages: tuple[str, ...]) -> bool:
    return any(pattern.search(line) for line in messages)


def _reason(messages: tuple[str, ...]) -> str:
    errors = [line for line in messages if _level(line) in {"error", "fatal"}]
    if not errors:
        return "it gave no reason"
    return _plain(errors[0])


def _level(line: str) -> str | None:
    match = _SEVERITY.search(line)
    return None if match is None else match["level"]


def _plain(line: str) -> str:
    return _PREFIX.sub("", line).rstrip(".")


def _exit(code: int) -> str:
    if not 128 < code < 160:
        return f"exit code {code}"
    number = code - 128
    memory = "; the machine may have run out of memory" if number == signal.SIGKILL else ""
    return f"killed by signal {number}{memory}"
