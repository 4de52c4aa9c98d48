"""Encoding: one file, or streams of several, into a new file that is checked before it counts."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from pathlib import PurePath
from typing import Any

from pydantic import StrictInt, StrictStr, TypeAdapter, ValidationError

from flows.forms import field
from flows.point_of_no_return import pass_point_of_no_return, point_of_no_return
from flows.reporting import (
    ProgressArtifact,
    logger,
    parameters,
    run_settings,
    sentence,
    set_counts,
    tell,
)
from haas_media.encoding.containers import BY_SUFFIX
from haas_media.encoding.request import (
    EncodeRequest,
    HardwareAcceleration,
    Resolution,
    StreamRef,
    VideoCodec,
)
from haas_otel import flow, task

CODEC_NAMES = {"h264": "H.264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9"}
# What an output may end in, for the server to check before a run starts.
ENDINGS = rf"(?i)[.]({'|'.join(suffix.removeprefix('.') for suffix in BY_SUFFIX)})$"


def _described(name: str, default: Any = ..., **schema: Any) -> Any:
    """Take over what the request itself says of a parameter."""
    known = EncodeRequest.model_fields[name]
    return field(default, title=known.title or name, description=known.description or "", **schema)


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

    def on_progress(now: EncodeProgress) -> None:
        set_counts({"encoding.progress": round(now.percent, 1)})
        bar(Progress(now.percent / 100, _pace(now)))

    report = encode(
        request,
        roots=settings.encoding_roots,
        ffmpeg=settings.ffmpeg,
        register=settings.data_dir / "encodings",
        on_progress=on_progress,
        on_publish=pass_point_of_no_return,
    )
    for remark in (*filter(None, [report.fallback]), *report.warnings):
        logger().warning(remark)
    bar.finish("Done.")
    seconds = report.elapsed.total_seconds()
    return tell(report, "encoding", f"Encoded {report.output.name} in {seconds:.1f} s.")


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
    source: StrictStr | None = _described("source", None, minLength=1),
    streams: list[StreamRef] | None = _described("streams", None, minItems=1),
    output: StrictStr = _described("output", pattern=ENDINGS),
    video_codec: VideoCodec = _described("video_codec", "h264"),
    crf: StrictInt | None = _described("crf", None, minimum=0, maximum=63),
    video_bitrate: StrictInt | StrictStr | None = _described("video_bitrate", None),
    resolution: Resolution = _described("resolution", "source"),
    hardware_acceleration: HardwareAcceleration = _described("hardware_acceleration", "none"),
    device: StrictStr | None = _described("device", None),
) -> dict[str, int]:
    """Encode a media file, or streams of several, into a new one."""
    request = checked_request(
        source=source,
        streams=streams,
        output=output,
        video_codec=video_codec,
        crf=crf,
        video_bitrate=video_bitrate,
        resolution=resolution,
        hardware_acceleration=hardware_acceleration,
        device=device,
    )
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
    parts = [f"{now.speed:.1f} times real time" if now.speed else ""]
    if now.remaining is not None:
        parts.append(f"{round(now.remaining.total_seconds())} s left")
    return ", ".join(part for part in parts if part)
