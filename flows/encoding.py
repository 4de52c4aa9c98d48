"""Encoding: one file, or streams of several, into a new file that is checked before it counts."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from pathlib import PurePath
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError

from flows.events import tell_written
from flows.forms import field
from flows.point_of_no_return import pass_point_of_no_return, point_of_no_return
from flows.reporting import (
    ProgressArtifact,
    logger,
    parameters,
    publish,
    run_settings,
    sentence,
    set_counts,
)
from haas_media.encoding.containers import BY_SUFFIX
from haas_media.encoding.request import (
    CODEC_NAMES,
    Deinterlace,
    EncodeRequest,
    HardwareAcceleration,
    Hdr,
    Quality,
    Resolution,
    StreamRef,
    Verify,
    VideoCodec,
)
from haas_otel import flow, task

# What an output may end in, for the server to check before a run starts.
ENDINGS = rf"(?i)[.]({'|'.join(suffix.removeprefix('.') for suffix in BY_SUFFIX)})$"


def _described(name: str, **schema: Any) -> Any:
    """Take over what the request itself says of a parameter."""
    known = EncodeRequest.model_fields[name]
    default = ... if known.is_required() else known.default
    title = known.title or name.replace("_", " ").capitalize()
    return field(default, title=title, description=known.description or "", **schema)


@task(name="Encode media file")
def encoding(request: EncodeRequest) -> dict[str, int]:
    """Encode; return the counts of the report.

    Raises:
        EncodingError: there is no result; an existing output is as it was.
        SettingsError: the settings are wrong.
    """
    from haas_media.encoding import EncodeProgress, encode
    from haas_media.progress import Progress

    settings = run_settings()
    name = _run_name_of(request)
    logger().info("%s into %s", sentence(name), request.output)
    set_counts({"encoding.progress": 0.0})
    bar = ProgressArtifact("encoding-progress", sentence(name))
    last: EncodeProgress | None = None

    def on_progress(now: EncodeProgress) -> None:
        nonlocal last
        last = now
        set_counts({"encoding.progress": round(now.percent, 1)})
        bar(Progress(now.percent / 100, _pace(now)))

    try:
        report = encode(
            request,
            roots=settings.encoding_roots,
            ffmpeg=settings.ffmpeg,
            register=settings.data_dir / "encodings",
            on_progress=on_progress,
            on_publish=pass_point_of_no_return,
        )
    except BaseException:
        if last is not None:
            logger().info("It got to %.1f %%, %s.", last.percent, last.phase)
        raise
    for remark in (*filter(None, [report.fallback]), *report.warnings):
        logger().warning(remark)
    for note in report.notes:
        logger().info(note)
    bar.finish("Done.")
    tell_written(str(report.output), settings.libraries)
    return publish(report, "encoding")


def _run_name_of(request: EncodeRequest) -> str:
    return _named(request.model_dump())


def _run_name() -> str:
    return _named(TypeAdapter(dict[str, Any]).dump_python(parameters()))


def _named(given: dict[str, Any]) -> str:
    streams: list[dict[str, Any]] = given.get("streams") or []
    origins = {given["source"]} if given.get("source") else {each["input"] for each in streams}
    what = PurePath(origins.pop()).name if len(origins) == 1 else f"{len(origins)} files"
    codec = given.get("video_codec", "h264")
    how = "copy" if codec == "copy" else f"encode to {CODEC_NAMES.get(codec, codec)}"
    height = given.get("resolution", "source")
    return f"{how}{'' if height == 'source' else f' {height}'}: {what}"


@flow(name="encoding", flow_run_name=_run_name)
def encoding_flow(
    source: StrictStr | None = _described("source", minLength=1),
    streams: list[StreamRef] | None = _described("streams", minItems=1),
    output: StrictStr = _described("output", pattern=ENDINGS),
    video_codec: VideoCodec = _described("video_codec"),
    crf: StrictInt | None = _described("crf", minimum=0, maximum=63),
    video_bitrate: StrictInt | StrictStr | None = _described("video_bitrate"),
    quality: Quality | None = _described("quality"),
    resolution: Resolution = _described("resolution"),
    hardware_acceleration: HardwareAcceleration = _described("hardware_acceleration"),
    device: StrictStr | None = _described("device"),
    deinterlace: Deinterlace = _described("deinterlace"),
    hdr: Hdr = _described("hdr"),
    allow_loss: StrictBool = _described("allow_loss"),
    refuse_larger: StrictBool = _described("refuse_larger"),
    verify: Verify = _described("verify"),
) -> dict[str, int]:
    """Encode a media file, or streams of several, into a new one."""
    request = checked_request(**locals())
    with point_of_no_return():
        return encoding(request)


def checked_request(**given: Any) -> EncodeRequest:
    """Refuse parameters that do not go together, before the task starts.

    Raises:
        ValueError: with a sentence for each thing that is wrong.
    """
    try:
        return EncodeRequest.model_validate(given)
    except ValidationError as error:
        wrong = (
            f"{'.'.join(map(str, problem['loc'])) or 'parameters'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise ValueError("\n".join(wrong)) from None


def _pace(now: Any) -> str:
    parts = ["" if now.phase == "encoding" else now.phase]
    parts.append(f"{now.speed:.1f} times real time" if now.speed else "")
    if now.remaining is not None:
        parts.append(f"{round(now.remaining.total_seconds())} s left")
    return ", ".join(part for part in parts if part)
