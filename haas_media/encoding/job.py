"""An encoding from its request to its report."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from haas_media.encoding.command import build_argv
from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import find_ffmpeg, list_encoders
from haas_media.encoding.hardware import Choice, choose_encoder
from haas_media.encoding.partial import Partial, sweep_folder
from haas_media.encoding.paths import refuse_same_file, resolve_input, resolve_output
from haas_media.encoding.plan import COPY, Plan, input_names, make_plan
from haas_media.encoding.probe import MediaFile, probe
from haas_media.encoding.progress import EncodeProgress, ProgressMeter, Tick
from haas_media.encoding.register import noted, sweep_noted
from haas_media.encoding.report import EncodeReport, StreamReport
from haas_media.encoding.runner import Finished, run
from haas_media.encoding.verify import check_output, check_run, warnings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
    sweep_noted(register)
    paths = [resolve_input(name) for name in input_names(request)]
    refuse_same_file(target, paths)
    # Only a decoded frame tells whether a picture is shown turned, which decides its height.
    inputs = [probe(path, decode_frame=request.height is not None) for path in paths]
    encoders = list_encoders(binary)
    plan = make_plan(request, inputs, encoders)
    choice = None
    if request.video_codec != COPY:
        choice = choose_encoder(request, binary, encoders, plan.bit_depth)
    meter = ProgressMeter(plan.duration)
    partial = Partial(target)
    with noted(register, partial.identity, target.parent), partial:
        argv = build_argv(binary, request, plan, choice.encoder if choice else None, partial.path)
        finished = _run(argv, partial, meter, on_progress)
        check_run(finished, plan, target)
        media = check_output(partial.path, plan)
        _publish(partial, target, on_publish)
    if on_progress is not None:
        on_progress(meter.complete(finished.last))
    return _report(target, plan, media, argv, choice, finished, time.monotonic() - started)


def _run(
    argv: list[str],
    partial: Partial,
    meter: ProgressMeter,
    on_progress: Callable[[EncodeProgress], None] | None,
) -> Finished:
    def on_tick(tick: Tick) -> None:
        if on_progress is not None:
            on_progress(meter.measure(tick))

    return run(
        argv,
        on_tick=on_tick,
        on_wait=partial.touch,
        interval=PROGRESS_INTERVAL.total_seconds(),
        keep_open=(partial.descriptor,),
    )


def _publish(partial: Partial, target: Path, on_publish: Callable[[], None] | None) -> None:
    try:
        partial.publish(on_publish)
    except OSError as error:
        raise EncodingError(
            f"The output could not be brought to {str(target)!r}: {error.strerror}."
        ) from error


def _report(
    target: Path,
    plan: Plan,
    media: MediaFile,
    argv: list[str],
    choice: Choice | None,
    finished: Finished,
    elapsed: float,
) -> EncodeReport:
    streams = tuple(
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
    return EncodeReport(
        output=target,
        size=media.identity.size,
        duration=timedelta(seconds=media.duration or finished.last.out_time or 0.0),
        streams=streams,
        argv=tuple(argv),
        hardware=choice.encoder.hardware if choice else None,
        fallback=choice.fallback if choice else None,
        elapsed=timedelta(seconds=elapsed),
        warnings=(*plan.warnings, *warnings_of(finished, media, plan)),
    )
