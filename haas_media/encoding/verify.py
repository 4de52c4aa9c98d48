"""Whether what ffmpeg left is a whole file. Its exit code 0 alone is no success."""

from __future__ import annotations

import collections
import itertools
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from haas_media.encoding.damage import Damage, clock, places, plain
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.facts import (
    Begins,
    Channels,
    DolbyVision,
    Fact,
    HighDynamicRange,
    Interlaced,
    SideData,
    Untimed,
)
from haas_media.encoding.losses import reshaped
from haas_media.encoding.probe import CLOCKED, MediaFile, probe
from haas_media.probe.streams import channels_of, open_input

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.encoding.losses import Fate
    from haas_media.encoding.plan import Plan, Track
    from haas_media.encoding.runner import Finished

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
# As versions before 6 say of the one that finds out when pictures are shown.
_NO_FILTER = re.compile(r"Bitstream filter not found$")
# Of pictures and of sound, when they change.
_SIZE = re.compile(r", (\d+x\d+)\b")
_LAYOUT = re.compile(r"^\d+ Hz, ([^,]+)")
_NOT_UTF8 = re.compile(r"\] Invalid UTF-8 in decoded subtitles text")

# What encoders add or drop at the ends: priming samples, reordered frames, rounding.
_TOLERANCE_SECONDS = 0.5
_LENGTH_LOST_SECONDS = 0.2
_LENGTH_WORTH_SAYING_SECONDS = 1.0
# Recordings and bare streams, which begin and end wherever somebody pressed a button.
_CUT_ANYWHERE = {"mpegts", "mpeg", "h264", "hevc", "mpegvideo", "wtv"}
_EDGE_SECONDS = 1.0
# From here on ffmpeg closes a gap in a clock.
_JUMP_SECONDS = 10.0
# What nobody asked for and what makes a player show something else.
_UNWANTED = (Untimed, Interlaced, HighDynamicRange, DolbyVision)


def check_reading(finished: Finished, plan: Plan, *, allow_loss: bool) -> None:
    """Check that the inputs could be read, and are what they were. Raises EncodingError."""
    messages = finished.messages
    if _any(_NOT_UTF8, messages):
        raise EncodingError(
            "Subtitles are not in UTF-8 and would be lost: convert them, or name the streams "
            "without them."
        )
    unreadable = next(filter(None, map(_UNREADABLE.search, messages)), None)
    if unreadable is not None:
        raise EncodingError(
            f"An input could not be read to its end ({unreadable['why']}): check its disk or "
            "network, and run it again."
        )
    if plan.duration is None and _any(_GAVE_UP, messages):
        raise EncodingError(
            f"An input could not be read to its end: {finished.reason}. It does not tell its "
            "length, so nobody knows how much is missing: check it."
        )
    if _any(_CUT_SHORT, messages) and not allow_loss:
        raise EncodingError(
            f"An input ends too early, after {clock(finished.last.out_time or 0.0)}: "
            f"{finished.reason}. Is it complete?"
        )
    for media in plan.inputs:
        if not media.is_as_it_was():
            raise EncodingError(
                f"{str(media.path)!r} was changed while it was being read: run it again once "
                "nothing writes to it."
            )


def check_run(finished: Finished, plan: Plan, target: Path, *, allow_loss: bool) -> Plan:
    """Check how ffmpeg ended; give the plan as it can now be held to.

    With ``allow_loss`` that may be less than what the source claimed to have. Raises EncodingError.
    """
    messages = finished.messages
    if _any(_DISK_FULL, messages):
        raise EncodingError(
            f"There is no room for the output in {str(target.parent)!r}: free some space and run "
            "it again."
        )
    ordered = [track for track in plan.video if _is_ordered(track)]
    if ordered and _any(_NO_FILTER, messages):
        raise _out_of_order(ordered[0], plan)
    if finished.returncode != 0:
        raise EncodingError(f"ffmpeg failed ({_exit(finished.returncode)}): {finished.reason}.")
    if not finished.last.ended:
        raise EncodingError(
            "ffmpeg ended without saying that it was done, so its output is not used."
        )
    if not allow_loss:
        plan = _without_jumps(finished.last.out_time or 0.0, plan)
        _check_length("ffmpeg worked through", finished.last.out_time, plan.duration, plan)
        return plan
    reached = finished.last.out_time or 0.0
    return _lasting(None if plan.duration is None else min(plan.duration, reached), plan)


def _lasting(duration: float | None, plan: Plan) -> Plan:
    """Give the plan for a source that lasts so long, whatever its streams claim."""
    tracks = (replace(track, stream=replace(track.stream, duration=None)) for track in plan.tracks)
    return replace(plan, duration=duration, tracks=tuple(tracks))


def _without_jumps(reached: float, plan: Plan) -> Plan:
    """Give the plan for what a recording holds, if its clock jumped: its length is no more."""
    if plan.duration is None or reached >= plan.duration - _tolerance(plan):
        return plan
    held = [_held(media) if media.format in CLOCKED else media.duration for media in plan.inputs]
    known = [seconds for seconds in held if seconds is not None]
    claimed = plan.duration - _JUMP_SECONDS
    return _lasting(max(known), plan) if known and max(known) < claimed else plan


def _held(media: MediaFile) -> float:
    """Sum up the time between packets, in seconds, of the stream that has the most of it."""
    last: dict[int, float] = {}
    held: dict[int, float] = collections.defaultdict(float)
    with open_input(media.path) as container:
        for packet in container.demux(*container.streams.video, *container.streams.audio):
            if packet.dts is None:
                continue
            index, unit = packet.stream_index, float(packet.time_base)
            now = packet.dts * unit
            step = now - last.get(index, now)
            held[index] += step if 0 < step < _JUMP_SECONDS else (packet.duration or 0) * unit
            last[index] = now
    return max(held.values(), default=0.0)


def check_damage(damage: tuple[Damage, ...], plan: Plan, *, allow_loss: bool) -> None:
    """Refuse what a decoder found damaged, but for how a recording begins and ends.

    Raises EncodingError with the places.
    """
    if allow_loss:
        return
    inside = tuple(each for each in damage if not _is_edge(each, plan))
    if inside:
        raise EncodingError(
            f"The source is damaged {places(inside)} ({plain(inside[0].message)}): get it from "
            "where it came from again, or set allow_loss to take what is left of it."
        )


def may_be_cut(plan: Plan) -> bool:
    """Tell whether an input is a recording, which may begin or end in the middle of a picture."""
    return any(media.format in _CUT_ANYWHERE for media in plan.inputs)


def _is_edge(damage: Damage, plan: Plan) -> bool:
    """Tell whether a recording, or what was cut out of one, just begins or ends in the middle."""
    if not (may_be_cut(plan) or damage.is_of_a_cut) or damage.start is None:
        return False
    ends = float("inf") if plan.duration is None else plan.duration
    return damage.end < _EDGE_SECONDS or damage.start > ends - _EDGE_SECONDS


def check_output(path: Path, plan: Plan) -> tuple[MediaFile, list[str]]:
    """Read what the output is and compare it with the plan.

    Returns its record, and what is to be said of it. Raises EncodingError.
    """
    try:
        media = probe(path)
    except EncodingError as error:
        raise EncodingError(f"The output is not a whole file: {error}") from error
    wanted = [track.codec for track in plan.tracks if track.kind != "attachment"]
    found = [
        stream.codec
        for stream in media.streams
        if stream.kind in {"video", "audio", "subtitle"} and stream.index not in media.anew
    ]
    if [*map(_plain_name, wanted)] != [*map(_plain_name, found)]:
        raise EncodingError(
            f"The output holds {', '.join(found) or 'nothing'} instead of {', '.join(wanted)}, so "
            "it is not used."
        )
    expected = None if plan.duration is None else plan.duration - plan.begins
    _check_length("The output holds", media.duration, expected, plan)
    warnings = [*_length_gained(media, plan), *_tags_lost(media, plan)]
    chapters, kept = len(plan.inputs[plan.main].chapters), len(media.chapters)
    if kept < chapters:
        warnings.append(f"Of {chapters} chapters {chapters - kept} are lost.")
    lost: list[str] = []
    for track, stream in zip(plan.tracks, media.streams, strict=False):
        if track.kind in {"video", "audio"} and stream.ends is not None:
            ends = None if track.stream.ends is None else track.stream.ends - plan.begins
            _check_length(f"The output's {track.kind} holds", stream.ends, ends, plan)
            lost += _length_lost(f"{track.kind} {stream.index}", stream.ends, ends, plan)
        facts = media.facts.get(stream.index, ())
        warnings += [said for fate in track.fates if (said := _compare(fate, facts, track, plan))]
        _check_only(facts, track)
        if _is_ordered(track):
            _check_order(path, track, stream.index, plan)
    return media, warnings + (lost or _length_lost("file", media.duration, expected, plan))


def _plain_name(codec: str) -> str:
    """Name a codec as MP4 does, which does not tell the layers of MPEG sound apart."""
    return "mp3" if codec in {"mp1", "mp2"} else codec


def _compare(fate: Fate, facts: tuple[Fact, ...], track: Track, plan: Plan) -> str | None:
    """Hold what the output is against one fate; give what is to be said of it, if anything."""
    fact = fate.fact
    same = [each for each in facts if type(each) is type(fact)]
    if isinstance(fact, SideData):
        same = [each for each in same if each == fact]
    match fate.what:
        case "tried":
            return None if _is_kept(fact, same, plan) else fate.says
        case "kept":
            told = not isinstance(fact, Interlaced) or fact.said
            if told and not _is_kept(fact, same, plan):
                raise EncodingError(_not_as_planned(track, fact, "lost"))
        case "converted" | "dropped":
            if fate.becomes is not None and fate.becomes not in same:
                raise EncodingError(_not_as_planned(track, fate.becomes, "not there"))
            if fate.becomes is None and same:
                if isinstance(fact, Untimed):
                    raise _out_of_order(track, plan)
                raise EncodingError(_not_as_planned(track, fact, "still there"))
    return None


def _is_ordered(track: Track) -> bool:
    """Tell whether a copy's pictures get the times at which they are shown from a filter."""
    return any(isinstance(fate.fact, Untimed) and fate.options for fate in track.fates)


def _check_order(path: Path, track: Track, index: int, plan: Plan) -> None:
    """Refuse times that were made up and are not evenly spaced, as every picture's has to be."""
    with open_input(path) as container:
        stream = container.streams[index]
        times = sorted(each.pts for each in container.demux(stream) if each.pts is not None)
        unit = float(stream.time_base or 1)
    gaps = [(later - sooner) * unit for sooner, later in itertools.pairwise(times)]
    usual = sorted(gaps)[len(gaps) // 2] if gaps else 0.0
    if any(not 0.5 * usual < gap < 1.5 * usual for gap in gaps):
        raise _out_of_order(track, plan)


def _out_of_order(track: Track, plan: Plan) -> EncodingError:
    return EncodingError(
        f"Video {track.stream.index} does not say when its pictures are shown, and a copy in "
        f"{plan.container.name} would show them out of order: choose a video codec to encode it."
    )


def _is_kept(fact: Fact, found: list[Fact], plan: Plan) -> bool:
    if isinstance(fact, Begins):
        expected = fact.seconds - plan.begins
        times = [each.seconds for each in found if isinstance(each, Begins)]
        return any(abs(seconds - expected) < _TOLERANCE_SECONDS for seconds in times)
    if isinstance(fact, Channels):
        return any(each.count >= fact.count for each in found if isinstance(each, Channels))
    if isinstance(fact, Interlaced):
        return bool(found)
    return fact in found


def _check_only(facts: tuple[Fact, ...], track: Track) -> None:
    """Refuse what came out of nowhere and would be shown wrongly."""
    known = {type(fate.fact) for fate in track.fates}
    for fact in facts:
        if isinstance(fact, _UNWANTED) and type(fact) not in known:
            raise EncodingError(_not_as_planned(track, fact, "new"))


def _not_as_planned(track: Track, fact: Fact, what: str) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(fact).__name__).lower()
    return (
        f"The output of {track.kind} {track.stream.index} is not as planned ({name} is {what}), so "
        "it is not used."
    )


def warnings_of(
    finished: Finished, damage: tuple[Damage, ...], reached: Plan, plan: Plan
) -> list[str]:
    """Say what of the source was lost, and where."""
    said = []
    if finished.last.dropped:
        count = finished.last.dropped
        pictures = "1 picture was" if count == 1 else f"{count} pictures were"
        said.append(f"{pictures} left out of the video, which had no room between others.")
    for position, parameters in sorted(finished.changes):
        stream = plan.tracks[position].stream
        changed = reshaped(stream.index)
        size, layout = _SIZE.search(parameters), _LAYOUT.search(parameters)
        same = size is None or size[1] == f"{stream.width}x{stream.height}"
        if not same and changed not in (*plan.warnings, *said):
            said.append(changed)
        if layout is not None and channels_of(layout[1]) > stream.channels:
            said.append(
                f"Audio {stream.index} has more channels in the middle ({layout[1]}): all of it "
                f"has {stream.channels} now, as it begins with."
            )
    if damage:
        first = plain(damage[0].message)
        said.append(f"The source is damaged {places(damage)} ({first}).")
    if plan.duration and reached.duration and plan.duration - reached.duration > _tolerance(plan):
        said.append(
            f"The source ends after {reached.duration:.1f} s of the {plan.duration:.1f} s that it "
            "claims to have."
        )
    return said


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


def _length_lost(what: str, seconds: float | None, expected: float | None, plan: Plan) -> list[str]:
    """Say what is too little to be refused, but may be the end of a file that was cut short."""
    if expected is None or seconds is None:
        return []
    few = max([_LENGTH_LOST_SECONDS, *(3 / rate for rate in _frame_rates(plan))])
    if seconds > expected - few:
        return []
    return [
        f"The output's {what} ends at {clock(seconds)}, {expected - seconds:.1f} s before the "
        "source says that it does."
    ]


def _tags_lost(media: MediaFile, plan: Plan) -> list[str]:
    """Say which of the film's tags the container has no place for."""
    names = sorted(plan.inputs[plan.main].tags - media.tags)
    if not names:
        return []
    noun = "tag" if len(names) == 1 else "tags"
    return [f"{plan.container.name} does not keep the {noun} {', '.join(map(repr, names))}."]


def _check_length(what: str, seconds: float | None, expected: float | None, plan: Plan) -> None:
    if expected is not None and (seconds or 0.0) < expected - _tolerance(plan):
        raise EncodingError(
            f"{what} {seconds or 0.0:.1f} s of {expected:.1f} s, so an input is truncated or "
            "damaged: check it."
        )


def _tolerance(plan: Plan) -> float:
    # The last frames' own length is not part of a last timestamp.
    return max([_TOLERANCE_SECONDS, *(3 / rate for rate in _frame_rates(plan))])


def _frame_rates(plan: Plan) -> list[float]:
    return [track.stream.frame_rate for track in plan.video if track.stream.frame_rate]


def _any(pattern: re.Pattern[str], messages: tuple[str, ...]) -> bool:
    return any(pattern.search(line) for line in messages)


def _exit(code: int) -> str:
    if not 128 < code < 160:
        return f"exit code {code}"
    number = code - 128
    memory = "; the machine may have run out of memory" if number == signal.SIGKILL else ""
    return f"killed by signal {number}{memory}"
