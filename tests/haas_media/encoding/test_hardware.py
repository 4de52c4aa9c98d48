"""Hardware is tried before it is used, and what is not there is said."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import pytest

from haas_media.encoding import EncodeRequest, EncodingError, encode, find_ffmpeg
from haas_media.encoding.command import build_argv
from haas_media.encoding.encoders import HARDWARE, Encoder
from haas_media.encoding.ffmpeg import list_encoders
from haas_media.encoding.hardware import choose_encoder, probe_argv
from haas_media.encoding.plan import make_plan
from haas_media.encoding.probe import Identity, MediaFile
from haas_media.probe.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

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
    media = MediaFile(Path("/films/in.mp4"), "mov", 5.0, (stream,), Identity(0, 0, 1, 0))
    encoder = Encoder(f"{codec}_{kind}", codec, kind, device)

    argv = build_argv(
        Path("ffmpeg"), request, make_plan(request, [media], []), encoder, Path("/films/out.mkv")
    )

    assert argv == shlex.split(f"{HEAD} {command}")


@pytest.mark.parametrize("kind", [*HARDWARE, "auto"])
def test_hardware_that_is_not_there(kind: str, clips: Path, library: Path) -> None:
    if Path("/dev/dri").exists() or Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    report = encode(
        EncodeRequest(
            source=str(clips / "film.mp4"),
            output=str(library / "x.mkv"),
            hardware_acceleration=kind,
        ),
        roots=[library],
    )
    assert report.hardware is None
    assert report.fallback is not None
    assert "was asked for but does not work here (" in report.fallback
    assert report.fallback.endswith("so the video was encoded in software with libx264.")
    assert "gave no reason" not in report.fallback
    assert report.fallback.split(" (")[0] in report.to_markdown()
    assert report.counts()["warnings"] == 1


def test_hardware_without_the_codec(clips: Path) -> None:
    request = EncodeRequest(
        source="x", output="x.mkv", video_codec="vp9", hardware_acceleration="nvenc"
    )
    choice = choose_encoder(request, find_ffmpeg(), {"libvpx-vp9"}, 8)
    assert choice.encoder == Encoder("libvpx-vp9", "vp9")
    assert choice.fallback is not None
    assert "NVENC: it has no VP9 encoder" in choice.fallback


def test_an_encoder_that_works_is_used() -> None:
    """No GPU here: a software encoder that is declared hardware stands in for one."""
    encoder = Encoder("libx264", "h264", "videotoolbox")
    argv = probe_argv(find_ffmpeg(), encoder, 8)
    argv[argv.index("-q:v") : argv.index("-q:v") + 2] = []
    from haas_media.encoding.runner import run

    finished = run(argv, timeout=240)
    assert (finished.returncode, finished.last.ended) == (0, True)


def test_the_first_that_works_is_chosen(tmp_path: Path) -> None:
    """A stand-in for ffmpeg on a machine with Quick Sync and VAAPI."""
    stub = tmp_path / "ffmpeg"
    stub.write_text(
        "#!/bin/sh\n"
        'case "$*" in *_qsv*|*_vaapi*) echo progress=end;;'
        ' *) echo "[h264_nvenc @ 0x1] [error] Cannot load libcuda.so.1" >&2; exit 1;; esac\n'
    )
    stub.chmod(0o755)
    encoders = {f"{codec}_{kind}" for kind, (_, codecs) in HARDWARE.items() for codec in codecs}
    encoders |= {"libx264"}
    request = EncodeRequest(source="x", output="x.mkv", hardware_acceleration="auto", device="1")
    choice = choose_encoder(request, stub, encoders, 8)
    assert choice.encoder == Encoder("h264_qsv", "h264", "qsv", "1")
    assert choice.fallback is None

    choice = choose_encoder(
        request.model_copy(update={"hardware_acceleration": "nvenc"}), stub, encoders, 8
    )
    assert choice.fallback == (
        "NVENC was asked for but does not work here (NVENC: Cannot load libcuda.so.1), so the "
        "video was encoded in software with libx264."
    )


def test_hardware_that_fails_is_no_fault_of_the_source(
    clips: Path, library: Path, tmp_path: Path
) -> None:
    stub = tmp_path / "ffmpeg"
    stub.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-encoders*) echo " V....D h264_nvenc  H.264";;'
        ' *-map_metadata*) echo "[h264_nvenc @ 0x1] [error] EncodePicture failed" >&2; exit 1;;'
        " *) echo progress=end;; esac\n"
    )
    stub.chmod(0o755)
    film, output = str(clips / "film.mp4"), str(library / "x.mkv")
    request = EncodeRequest(source=film, output=output, hardware_acceleration="nvenc")
    with pytest.raises(EncodingError, match=r"ffmpeg failed .*: EncodePicture failed"):
        encode(request, roots=[library], ffmpeg=str(stub))


@pytest.mark.parametrize(
    ("codec", "sentence"),
    [
        ("h264", r"no H.264 encoder \(libx264\): choose another"),
        ("av1", r"no AV1 encoder \(libsvtav1 or libaom-av1\)"),
    ],
)
def test_an_ffmpeg_without_the_encoder(codec: str, sentence: str) -> None:
    request = EncodeRequest(source="x", output="x.mkv", video_codec=codec)
    with pytest.raises(EncodingError, match=sentence):
        choose_encoder(request, find_ffmpeg(), {"mpeg4"}, 8)


def test_a_second_choice_of_software() -> None:
    request = EncodeRequest(source="x", output="x.mkv", video_codec="av1")
    choice = choose_encoder(request, find_ffmpeg(), {"libaom-av1"}, 8)
    assert choice.encoder.name == "libaom-av1"
    assert choice.encoder.rate_arguments(30, None)[:4] == ["-crf", "30", "-b:v", "0"]


def test_the_wheels_ffmpeg_has_every_software_encoder() -> None:
    assert {"libx264", "libx265", "libsvtav1", "libvpx-vp9", "libopus", "aac"} <= list_encoders(
        find_ffmpeg()
    )


class TestFindFfmpeg:
    """The one that is set, else one on PATH, else the wheel's."""

    @pytest.fixture
    def program(self, tmp_path: Path) -> Callable[[str], Path]:
        def make(folder: str) -> Path:
            path = tmp_path / folder / "ffmpeg"
            path.parent.mkdir()
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)
            return path

        return make

    def test_order(self, program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        assert find_ffmpeg() == Path(imageio_ffmpeg.get_ffmpeg_exe())
        on_path = program("bin")
        monkeypatch.setenv("PATH", str(on_path.parent))
        assert find_ffmpeg() == on_path
        assert find_ffmpeg("") == on_path
        given = program("given")
        assert find_ffmpeg(str(given)) == given
        assert find_ffmpeg("ffmpeg") == on_path

    def test_a_setting_that_leads_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "ffmpeg").write_text("not executable")
        for setting in ("/nowhere/ffmpeg", str(tmp_path), str(tmp_path / "ffmpeg"), "no-such"):
            with pytest.raises(EncodingError, match=r"HAAS_FFMPEG is .* not a program"):
                find_ffmpeg(setting)

    def test_a_program_that_is_no_ffmpeg(self, clips: Path, library: Path) -> None:
        with pytest.raises(EncodingError, match="does not answer as ffmpeg does"):
            encode(
                EncodeRequest(source=str(clips / "film.mp4"), output=str(library / "x.mkv")),
                roots=[library],
                ffmpeg="/bin/false",
            )
