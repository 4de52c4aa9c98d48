"""Hardware is tried before it is used, and what is not there is said."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import pytest

from haas_media.encoding import EncodeRequest, EncodingError, find_ffmpeg
from haas_media.encoding.command import build_argv
from haas_media.encoding.encoders import HARDWARE, Encoder
from haas_media.encoding.plan import make_plan
from haas_media.encoding.probe import MediaFile
from haas_media.probe.streams import Stream
from tests.haas_media.encoding.conftest import make_program

if TYPE_CHECKING:
    from tests.haas_media.encoding.conftest import Studio

HEAD = "ffmpeg -hide_banner -nostdin -nostats -loglevel level+info"
HEAD += " -progress pipe:1 -y"
IN = "-err_detect crccheck -f mov -protocol_whitelist file,pipe -i file:/films/in.mp4 -map 0:0"
META = "-map_metadata 0 -map_chapters 0"
OUT = "-f matroska file:/films/out.mkv"

COMMANDS = [
    (
        ("nvenc", "h264", None, {}),
        f"{IN} {META} -c:v h264_nvenc -rc vbr -cq 20 -b:v 0 -pix_fmt:v:0 nv12 {OUT}",
    ),
    (
        ("nvenc", "av1", "1", {"crf": 0, "resolution": "1080p"}),
        f"{IN} {META} -c:v av1_nvenc -gpu 1 -rc vbr -cq 1 -b:v 0 -pix_fmt:v:0 p010le"
        f" -filter:v:0 scale=-2:1080,setsar=1 {OUT}",
    ),
    (
        ("nvenc", "hevc", "0", {"video_bitrate": "4M"}),
        f"{IN} {META} -c:v hevc_nvenc -gpu 0 -rc vbr -b:v 4000000 -maxrate:v 6000000"
        f" -bufsize:v 8000000 -pix_fmt:v:0 p010le {OUT}",
    ),
    (
        ("qsv", "hevc", None, {}),
        f"{IN} {META} -c:v hevc_qsv -global_quality 22 -pix_fmt:v:0 p010le {OUT}",
    ),
    (
        ("qsv", "h264", "1", {"crf": 0}),
        f"-qsv_device /dev/dri/renderD129 {IN} {META} -c:v h264_qsv -global_quality 1"
        f" -pix_fmt:v:0 nv12 {OUT}",
    ),
    (
        ("vaapi", "h264", None, {"resolution": "720p"}),
        f"-vaapi_device /dev/dri/renderD128 {IN} {META} -c:v h264_vaapi -rc_mode CQP"
        f" -global_quality 20 -filter:v:0 scale=-2:720,setsar=1,format=nv12,hwupload {OUT}",
    ),
    (
        ("vaapi", "av1", "/dev/dri/renderD130", {"crf": 30}),
        f"-vaapi_device /dev/dri/renderD130 {IN} {META} -c:v av1_vaapi -rc_mode CQP"
        f" -global_quality 120 -filter:v:0 format=p010,hwupload {OUT}",
    ),
    (
        ("vaapi", "vp9", None, {"video_bitrate": 2_000_000}),
        f"-vaapi_device /dev/dri/renderD128 {IN} {META} -c:v vp9_vaapi -rc_mode VBR -b:v 2000000"
        f" -maxrate:v 3000000 -bufsize:v 4000000 -filter:v:0 format=p010,hwupload {OUT}",
    ),
    (
        ("amf", "h264", None, {"crf": 25}),
        f"{IN} {META} -c:v h264_amf -rc cqp -qp_i 25 -qp_p 25 -pix_fmt:v:0 nv12 {OUT}",
    ),
    (
        ("amf", "av1", None, {"crf": 63}),
        f"{IN} {META} -c:v av1_amf -rc cqp -qp_i 252 -qp_p 252 -pix_fmt:v:0 p010le {OUT}",
    ),
    (
        ("videotoolbox", "hevc", None, {"crf": 0}),
        f"{IN} {META} -c:v hevc_videotoolbox -q:v 100 -pix_fmt:v:0 p010le {OUT}",
    ),
    (
        ("videotoolbox", "h264", None, {"crf": 51}),
        f"{IN} {META} -c:v h264_videotoolbox -q:v 1 -pix_fmt:v:0 nv12 {OUT}",
    ),
]


@pytest.mark.parametrize(("asked", "command"), COMMANDS, ids=lambda value: str(value)[:40])
def test_command(asked: tuple[str, str, str | None, dict[str, Any]], command: str) -> None:
    """What each kind of hardware is given, for a 10-bit film of 2160p."""
    kind, codec, device, values = asked
    request = EncodeRequest(
        source="/films/in.mp4",
        output="/films/out.mkv",
        video_codec=codec,
        hardware_acceleration=kind,
        device=device,
        **values,
    )
    stream = Stream(0, "video", "hevc", width=3840, height=2160, bit_depth=10, duration=5.0)
    media = MediaFile(Path("/films/in.mp4"), "mov", 5.0, (stream,), Path(os.devnull).stat())
    encoder = Encoder(f"{codec}_{kind}", codec, kind, device)

    argv = build_argv(
        Path("ffmpeg"), request, make_plan(request, [media], []), encoder, Path("/films/out.mkv")
    )

    assert argv == shlex.split(f"{HEAD} {command}")


NOT_HERE = [(kind, "h264", "libx264", "") for kind in (*HARDWARE, "auto")]
NOT_HERE += [("nvenc", "vp9", "libvpx-vp9", "(NVENC: it has no VP9 encoder)")]


@pytest.mark.parametrize(("kind", "codec", "software", "why"), NOT_HERE)
def test_hardware_that_is_not_there(
    kind: str, codec: str, software: str, why: str, studio: Studio
) -> None:
    if Path("/dev/dri").exists() or Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    report = studio.encode("film.mp4", video_codec=codec, hardware_acceleration=kind)
    assert report.hardware is None
    assert report.fallback is not None
    assert f"was asked for but does not work here {why or '('}" in report.fallback
    assert report.fallback.endswith(f"so the video was encoded in software with {software}.")
    assert "gave no reason" not in report.fallback
    assert report.fallback.split(" (")[0] in report.to_markdown()
    assert report.counts()["warnings"] == 1


def test_the_first_that_works_is_used(studio: Studio, tmp_path: Path) -> None:
    """No GPU here: what Quick Sync is asked for, a stand-in has software do."""
    body = (
        "if 'h264_nvenc' in sys.argv:\n"
        "    sys.exit('[h264_nvenc @ 0x1] [error] Cannot load libcuda.so.1')\n"
        "if 'h264_qsv' in sys.argv:\n"
        "    at = sys.argv.index('-global_quality')\n"
        "    sys.argv[at - 1:at + 2] = ['libx264']\n"
        "os.execv(ffmpeg, sys.argv)"
    )
    program = make_program(tmp_path / "qsv", body, "h264_nvenc", "h264_qsv", "libx264")
    report = studio.encode("film.mp4", hardware_acceleration="auto", how={"ffmpeg": program})
    assert (report.hardware, report.fallback) == ("qsv", None)
    report = studio.encode("film.mp4", hardware_acceleration="nvenc", how={"ffmpeg": program})
    assert report.fallback == (
        "NVENC was asked for but does not work here (NVENC: Cannot load libcuda.so.1), so the "
        "video was encoded in software with libx264."
    )


def test_hardware_that_fails_is_no_fault_of_the_source(studio: Studio, tmp_path: Path) -> None:
    body = (
        "if '-map_metadata' in sys.argv:\n"
        "    sys.exit('[h264_nvenc @ 0x1] [error] EncodePicture failed')\n"
        "say('progress=end')"
    )
    how = {"ffmpeg": make_program(tmp_path / "fails", body, "h264_nvenc")}
    said = r"ffmpeg failed .*: EncodePicture failed"
    studio.refuses(said, "film.mp4", hardware_acceleration="nvenc", how=how)


def test_an_ffmpeg_without_the_encoder(studio: Studio, tmp_path: Path) -> None:
    how = {"ffmpeg": make_program(tmp_path / "small", "", "mpeg4")}
    studio.refuses(r"no H.264 encoder \(libx264\): choose another", "film.mp4", how=how)
    said = r"no AV1 encoder \(libsvtav1 or libaom-av1\)"
    studio.refuses(said, "film.mp4", video_codec="av1", how=how)


def test_a_second_choice_of_software(studio: Studio, tmp_path: Path) -> None:
    body = "sys.exit('[av1 @ 0x1] [error] ' + ' '.join(sys.argv))"
    how = {"ffmpeg": make_program(tmp_path / "aom", body, "libaom-av1")}
    given = "-c:v libaom-av1 -crf 30 -b:v 0"
    studio.refuses(given, "film.mp4", video_codec="av1", how=how)


def test_which_ffmpeg_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is set, else one on PATH, else the wheel's."""
    (tmp_path / "ffmpeg").touch()
    given, on_path = tmp_path / "given", tmp_path / "bin" / "ffmpeg"
    on_path.parent.mkdir()
    for program in (given, on_path):
        make_program(program, "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_ffmpeg() == Path(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_ffmpeg() == find_ffmpeg("") == find_ffmpeg("ffmpeg") == on_path
    assert find_ffmpeg(str(given)) == given
    for setting in ("/nowhere/ffmpeg", str(tmp_path), str(tmp_path / "ffmpeg"), "no-such"):
        with pytest.raises(EncodingError, match=r"HAAS_FFMPEG is .* not a program"):
            find_ffmpeg(setting)


def test_a_program_that_is_no_ffmpeg(studio: Studio) -> None:
    studio.refuses("does not answer as ffmpeg does", "film.mp4", how={"ffmpeg": "/bin/false"})
