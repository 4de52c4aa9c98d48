"""An encoding from its request to its report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from haas_media.encoding.command import build_argv
from haas_media.encoding.decoding import compare, decode, forget_cached, locate, refuse_faulty
from haas_media.encoding.encoders import choose_encoder
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.facts import DolbyVision
from haas_media.encoding.ffmpeg import companion, find_ffmpeg, list_encoders
from haas_media.encoding.partial import Partial, sweep_folder, sweep_registered
from haas_media.encoding.paths import refuse_same_file, resolve_input, resolve_output
from haas_media.encoding.plan import COPY, Plan, input_names, make_plan
from haas_media.encoding.probe import MediaFile, probe
from haas_media.encoding.progress import EncodeProgress, ProgressMeter, Tick
from haas_media.encoding.quality import Found, find_crf, sample_seconds
from haas_media.encoding.report import EncodeReport, StreamReport
from haas_media.encoding.runner import Finished, run
from haas_media.encoding.verify import (
    check_damage,
    check_output,
    check_reading,
    check_run,
    may_be_cut,
    warnings_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from haas_media.encoding.damage import Damage
    from haas_media.encoding.encoders import Encoder
    from haas_media.encoding.request import EncodeRequest

PROGRESS_INTERVAL = timedelta(seconds=1)


def encode(
    request: EncodeRequest,
    *,
    roots: Sequence[Path],
    ffmpeg: str | None = None,
    register: Path | None = None,
    on_progress: Callable[[EncodeProgress], None] | None = None,
    on_publish: Callable[[], None] | None = None,
) -> EncodeReport:
    """Encode, check the result, and only then let it take the output's name.

    ``roots`` are the folders in which an output may lie; ``ffmpeg`` the setting HAAS_FFMPEG;
    ``register`` a folder in which runs of this machine note where they write, so that what a killed
    one has left is removed by the next, wherever that writes.
    ``on_progress`` is called in this thread, at most once a second while ffmpeg runs and once more
    at the end; what it raises ends the encoding. Any exception, those of signal handlers included,
    kills ffmpeg at once, removes the partial file and leaves an existing output as it was; but not
    from when ``on_publish`` is called, right before the new file takes the output's name.

    Raises EncodingError with a sentence. Source: media-tasks.md, "Encoding".
    """
    started = time.monotonic()
    binary = find_ffmpeg(ffmpeg)
    target = resolve_output(request.output, roots)
    sweep_folder(target.parent)
    sweep_registered(register)
    paths = [resolve_input(name) for name in input_names(request)]
    refuse_same_file(target, paths)
    looks = request.video_codec != COPY and request.deinterlace == "auto"
    inputs = [probe(path, look_for_fields=looks) for path in paths]
    if not ffmpeg and request.video_codec != COPY and _is_dolby_vision(inputs):
        # Older ones mark as Dolby Vision what they encoded, which it is not any more.
        binary = companion()
    encoders = list_encoders(binary)
    plan = make_plan(request, inputs, encoders)
    encoder, fallback = choose_encoder(request, binary, encoders, plan.bit_depth)
    partial = Partial(target, register)
    studio = _Studio(request, plan, partial, ProgressMeter(plan.duration), on_progress)
    with partial:
        found = None
        if request.target is not None and encoder is not None:
            found = studio.find_crf(request.target, encoder, binary)
            plan = replace(plan, crf=found.crf)
        argv = build_argv(binary, request, plan, encoder, partial.path)
        finished = studio.encode(argv)
        check_reading(finished, plan, allow_loss=request.allow_loss)
        damage = studio.locate(finished.damage)
        checked = check_run(finished, plan, target, allow_loss=request.allow_loss)
        media, said = check_output(partial.path, checked)
        verifying = time.monotonic()
        copied_damage = studio.verify(media, checked)
        verified = time.monotonic() - verifying
        partial.publish(on_publish)
    if on_progress is not None:
        on_progress(studio.meter.complete(finished.last))
    lost = warnings_of(finished, damage or copied_damage, checked, plan)
    return EncodeReport(
        output=target,
        size=media.status.st_size,
        source_size=studio.source_size,
        duration=timedelta(seconds=media.duration or finished.last.out_time or 0.0),
        streams=_streams(plan, media),
        argv=tuple(argv),
        hardware=encoder.hardware if encoder else None,
        fallback=fallback,
        elapsed=timedelta(seconds=time.monotonic() - started),
        warnings=(*plan.warnings, *said, *lost),
        notes=(*plan.notes, *([str(found)] if found else [])),
        quality=found,
        verify=request.verify,
        verified=timedelta(seconds=verified),
    )


@dataclass(slots=True)
class _Studio:
    """One encoding's runs of ffmpeg: what they all need, and what each tells as it goes."""

    request: EncodeRequest
    plan: Plan
    partial: Partial
    meter: ProgressMeter
    on_progress: Callable[[EncodeProgress], None] | None

    @property
    def source_size(self) -> int:
        """The size of all that is read, in bytes."""
        return sum(media.status.st_size for media in self.plan.inputs)

    def find_crf(self, target: float, encoder: Encoder, binary: Path) -> Found:
        def run_trial(argv: list[str]) -> Finished:
            seconds = sample_seconds(self.plan)
            self.meter.begin("finding the quality", until=10, duration=seconds, share=0.2)
            return self._run(argv)

        return find_crf(target, self.plan, encoder, binary, self.partial.sample, run_trial)

    def encode(self, argv: list[str]) -> Finished:
        verifies = 15 if self.request.verify == "full" else 1
        verifies = 70 if self.request.video_codec == COPY else verifies
        self.meter.begin("encoding", until=100 - verifies, duration=self.plan.duration)
        # What will be refused needs no end; but an error in a recording may be just how it begins.
        stops = not self.request.allow_loss and not may_be_cut(self.plan)
        finished = self._run(argv, stop_at_damage=stops)
        self._check_size()
        return finished

    def locate(self, damage: tuple[Damage, ...]) -> tuple[Damage, ...]:
        """Find the places of what was met; refuse it if it has to be."""
        if damage:
            self.meter.begin("looking for damage", until=100, duration=self.plan.duration)
            damage = locate(self.plan, self._run) or damage
            check_damage(damage, self.plan, allow_loss=self.request.allow_loss)
        return damage

    def verify(self, media: MediaFile, plan: Plan) -> tuple[Damage, ...]:
        """Decode what was copied, whose damage is the source's and returned; in full, all."""
        full = self.request.verify == "full"
        share = 0.5 if full else 1.0
        self.meter.begin("verifying", until=100, duration=self.plan.duration, share=share)
        if full:
            forget_cached(media.path)
        copied = [track for track in plan.tracks if track.action == COPY]
        met = decode(media, plan, copied, self._run)
        check_damage(met, plan, allow_loss=self.request.allow_loss)
        if full:
            self.meter.begin("verifying", until=100, duration=self.plan.duration)
            encoded = [track for track in plan.tracks if track.action != COPY]
            refuse_faulty(decode(media, plan, encoded, self._run))
            compare(media, plan, self._run)
        return met

    def _run(self, argv: list[str], *, stop_at_damage: bool = False) -> Finished:
        def on_tick(tick: Tick) -> None:
            if self.on_progress is not None:
                self.on_progress(self.meter.measure(tick))

        return run(
            argv,
            on_tick=on_tick,
            on_wait=self._on_wait,
            interval=PROGRESS_INTERVAL.total_seconds(),
            keep_open=(self.partial.descriptor,),
            stop_at_damage=stop_at_damage,
            spared=self._left_out(),
        )

    def _left_out(self) -> set[str]:
        """List the codecs of covers, which are read though nobody takes them."""
        streams = (each for media in self.plan.inputs for each in media.streams)
        covers = {each.codec for each in streams if each.attached_picture}
        return covers - {track.stream.codec for track in self.plan.tracks}

    def _on_wait(self) -> None:
        self.partial.touch()
        self._check_size()

    def _check_size(self) -> None:
        if not self.request.refuse_larger:
            return
        try:
            size = self.partial.path.stat().st_size
        except OSError:
            return
        if size > self.source_size:
            raise EncodingError(
                "The output is larger than its source, which refuse_larger refuses: choose a "
                "lower quality or another codec, or keep the source."
            )


def _is_dolby_vision(inputs: Sequence[MediaFile]) -> bool:
    facts = (fact for media in inputs for known in media.facts.values() for fact in known)
    return any(isinstance(fact, DolbyVision) for fact in facts)


def _streams(plan: Plan, media: MediaFile) -> tuple[StreamReport, ...]:
    return tuple(
        StreamReport(
            kind=track.kind,
            input=plan.inputs[track.file].path,
            index=track.stream.index,
            source=track.stream.describe(),
            result=result.describe(),
            copied=track.action == COPY,
        )
        for track, result in zip(plan.tracks, media.streams, strict=False)
    )
