"""What a source is besides its codec: each property is kept, converted, warned of, or refused."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING, Any

import av
import pytest

from haas_media.encoding import EncodingError
from haas_media.encoding.facts import DolbyVision, Interlaced
from haas_media.encoding.probe import probe
from tests.haas_media.encoding.conftest import (
    FFMPEG,
    PICTURE,
    TONE,
    X264,
    X265,
    make_clips,
    make_program,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_media.encoding.conftest import Studio

HALVES = {
    "mp3.avi": f"{PICTURE}:d=20 {TONE}:d=20 -c:v mpeg4 -c:a libmp3lame",
    "ac3.avi": f"{PICTURE}:d=20 {TONE}:d=20 -c:v mpeg4 -c:a ac3",
    "mute.avi": f"{PICTURE}:d=20 -c:v mpeg4",
    "sound.wmv": f"{PICTURE}:d=20 {TONE}:d=20 -c:v wmv2 -c:a wmav2",
}
UNTIMED = {
    "x264.avi": f"{PICTURE} {TONE} -c:v libx264 -bf 3 -pix_fmt yuv420p -c:a libmp3lame",
    "mpeg4.avi": f"{PICTURE} -c:v mpeg4 -bf 2 -vtag XVID",
    "disc.vob": f"{PICTURE} {TONE} -c:v mpeg2video -bf 2 -c:a ac3",
    "bare.h264": f"{PICTURE} -c:v libx264 -bf 3 -pix_fmt yuv420p",
    "open.h264": f"{PICTURE} -c:v libx264 -bf 3 -g 20 -flags -cgop -x264-params open-gop=1"
    " -pix_fmt yuv420p",
    "bare.hevc": f"{PICTURE} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p",
    "bare.m2v": f"{PICTURE} -c:v mpeg2video -bf 2",
}
_MOVING = "-f lavfi -i testsrc2=s=320x240:r=50:d=2 -vf tinterlace=interleave_top,setfield=tff"
INTERLACED = {
    "1080i.ts": f"{_MOVING} -c:v mpeg2video -flags +ilme+ildct -b:v 4M",
    "fields.mkv": f"{_MOVING} -c:v libx264 -preset ultrafast -flags +ilme+ildct -pix_fmt yuv420p",
    "fields.avi": f"{_MOVING} -c:v mpeg4 -flags +ilme+ildct -b:v 4M",
}
_TELECINED = "-f lavfi -i testsrc2=s=320x240:r=24000/1001:d=3 -vf telecine=pattern=23,setfield=prog"
# Which field comes first is told by each picture only.
BOTTOM_FIRST = {
    f"bottom.{kind}": "-f lavfi -i testsrc2=s=720x480:r=60000/1001:d=2"
    f" -vf tinterlace=interleave_bottom,setfield=bff {codec}"
    for kind, codec in {
        "dv": "-pix_fmt yuv411p -c:v dvvideo -r 30000/1001",
        "avi": "-c:v mpeg4 -q:v 3 -flags +ilme+ildct",
    }.items()
}
_SOUND = "-f lavfi -i sine=d=1:r=48000,aformat=s32"
OTHERS = {
    "late.mkv": f"{PICTURE} -itsoffset 0.6 {TONE} {X264} -c:a aac",
    "late-picture.mkv": f"-itsoffset 1 {PICTURE} {TONE}:d=4 {X264} -c:a aac",
    "hlg.mkv": f"{PICTURE} -t 0.4 -vf setparams=color_trc=arib-std-b67:color_primaries=bt2020:"
    f"colorspace=bt2020nc {X265}",
    "alpha.mov": "-f lavfi -i testsrc2=s=64x64:d=0.4 -vf format=yuva444p10le -c:v prores_ks"
    " -profile:v 4444",
    "alpha.webm": "-f lavfi -i testsrc2=s=64x64:d=0.4 -vf format=yuva420p -c:v libvpx-vp9",
    "counted.mkv": f"{PICTURE} {TONE} {X264} -c:a aac -metadata:s:v BPS=25123456"
    " -metadata:s:a NUMBER_OF_BYTES-eng=9 -metadata:s:a _STATISTICS_TAGS=BPS"
    " -metadata:s:v DURATION-eng=01:00:00.0",
    "dolby.mp4": f"{PICTURE} -t 0.4 -vf setparams=color_trc=smpte2084:color_primaries=bt2020:"
    f"colorspace=bt2020nc {X265} -tag:v hvc1",
    "444.mkv": f"{PICTURE} -t 0.4 -vf format=yuv444p -c:v libx264 -preset ultrafast",
    "nine.mkv": f"{PICTURE} -t 0.4 -c:v ffv1 -pix_fmt yuv420p9le",
    "fields-outside.mkv": f"{_MOVING} {X264} -field_order tt",
    "tagged.mkv": "-i film.mkv -c copy -metadata IMDB=tt0133093 -metadata DIRECTOR=X"
    " -metadata genre=Drama -metadata date=1999",
    "3d.mkv": "-i film.mkv -c copy -metadata:s:v stereo_mode=left_right",
    "layers.mp4": f"{PICTURE} {TONE} {X264} -c:a mp2",
    "pcm.wav": f"{_SOUND} -c:a pcm_s24le",
    "sound.flac": f"{_SOUND} -c:a flac",
    "truehd.mkv": f"{_SOUND} -c:a truehd -strict -2",
    "ac3.mkv": f"{_SOUND} -c:a ac3",
    "ttml.mp4": f"{PICTURE} {TONE} -i film.srt -map 0 -map 1 -map 2 {X264} -c:a aac -c:s ttml",
}


# Pictures without a word on their colours, in a container that knows them, and PQ without the rest.
COLOURS = {
    "plain.mp4": f"{PICTURE} -t 0.4 {X265}",
    "outside.mkv": "-i plain.mp4 -c copy -color_trc smpte2084 -color_primaries bt2020"
    " -colorspace bt2020nc",
    "outside.mp4": "-i outside.mkv -c copy",
    "sdr-outside.mkv": "-i plain.mp4 -c copy -color_trc bt709 -color_primaries bt709"
    " -colorspace bt709",
    "large.mkv": f"-f lavfi -i color=red:s=1280x720:r=5:d=0.4 {X264}",
    "large-rgb.mkv": "-f lavfi -i color=red:s=1280x720:r=5:d=0.4 -pix_fmt gbrp -c:v ffv1",
    "rgb.mkv": f"{PICTURE} -t 0.4 -vf format=gbrp10le,setparams=color_trc=smpte2084"
    " -c:v ffv1 -color_primaries bt2020",
    "only-pq.mkv": f"{PICTURE} -t 0.4 {X265}:transfer=smpte2084",
}


@pytest.fixture(scope="module")
def sources(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    for name in ("film.srt", "film.mkv"):
        (folder / name).symlink_to(clips / name)
    make_clips(folder, {n: a.replace(":d=2:d=", ":d=") for n, a in (HALVES | OTHERS).items()})
    make_clips(folder, UNTIMED | INTERLACED | BOTTOM_FIRST | COLOURS)
    for profile, base in ((5, 0), (7, 6), (8, 1)):
        _add_dolby_vision(folder / "dolby.mp4", folder / f"dolby-{profile}.mp4", profile, base)
    return folder


def _add_dolby_vision(
    plain: Path, path: Path, profile: int, base: int, codec: bytes = b"hvc1"
) -> None:
    """Have a track say that it is Dolby Vision; the file's index has to be at its end."""
    data = bytearray(plain.read_bytes())
    flags = profile << 9 | 6 << 3 | 1 << 2 | (profile == 7) << 1 | 1
    body = bytes((1, 0)) + struct.pack(">H", flags) + bytes((base << 4,)) + bytes(19)
    box = struct.pack(">I", 8 + len(body)) + (b"dvvC" if profile > 7 else b"dvcC") + body
    at = data.index(b"hvcC" if codec == b"hvc1" else b"av1C") - 4
    at += int.from_bytes(data[at : at + 4], "big")
    data[at:at] = box
    start = 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", codec):
        start = data.index(name, start) - 4
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        data[start : start + 4] = size.to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4", "out.mov"])
@pytest.mark.parametrize("name", UNTIMED)
def test_a_copy_keeps_the_order_of_display(
    name: str, output: str, sources: Path, studio: Studio
) -> None:
    report = studio.copy(sources / name, output)
    with av.open(str(report.output)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert len(times) == 50
    assert times == sorted(set(times))


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
def test_a_copy_that_would_be_out_of_order(output: str, studio: Studio) -> None:
    """Closed groups of pictures, at the end of each of which ffmpeg loses the order."""
    closed = f"{PICTURE} -c:v libx264 -bf 3 -g 20 -pix_fmt yuv420p"
    source = studio.make("closed.h264", closed)
    studio.refuses(
        "show them out of order: choose a video codec", source, output, video_codec="copy"
    )
    assert studio.encode(source).warnings == ()


def test_a_copy_by_an_ffmpeg_that_finds_no_order(sources: Path, studio: Studio) -> None:
    """As ffmpeg 5, which has no such filter."""
    body = (
        "if 'dts2pts' in ' '.join(sys.argv):\n"
        "    sys.exit(\"[error] Error parsing filters 'dts2pts': Bitstream filter not found\")\n"
        "os.execv(ffmpeg, sys.argv)"
    )
    said = "show them out of order: choose a video codec"
    studio.refuses(said, sources / "x264.avi", video_codec="copy", how=studio.program(body))


@pytest.mark.parametrize("codec", ["h264", "copy"])
@pytest.mark.parametrize("name", HALVES)
def test_half_a_file(name: str, codec: str, sources: Path, studio: Studio, tmp_path: Path) -> None:
    whole = (sources / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    studio.refuses(
        "of 20.0 s, so an input is truncated|damaged", tmp_path / name, video_codec=codec
    )
    report = studio.encode(tmp_path / name, video_codec=codec, allow_loss=True)
    assert any("s that it claims to have" in said for said in report.warnings)


@pytest.mark.parametrize("codec", ["h264", "copy"])
@pytest.mark.parametrize(("name", "kind"), [("late.mkv", "audio"), ("late-picture.mkv", "video")])
def test_where_a_track_begins(
    name: str, kind: str, codec: str, sources: Path, studio: Studio
) -> None:
    for output in ("out.mp4", "out.mov", "out.mkv"):
        report = studio.encode(sources / name, output, video_codec=codec)
        assert report.warnings == ()
        (late,) = (each for each in probe(report.output).streams if each.kind == kind)
        assert late.begins == pytest.approx(0.6 if kind == "audio" else 1.0, abs=0.1)


@pytest.mark.parametrize("name", ["1080i.ts", "fields.mkv", "fields.avi"])
def test_interlaced_video_is_deinterlaced(name: str, sources: Path, studio: Studio) -> None:
    """Each of the 100 fields becomes a picture of its own."""
    report = studio.encode(sources / name)
    assert "was deinterlaced" in report.notes[0]
    assert report.notes[0] in report.to_markdown()
    assert not any(isinstance(fact, Interlaced) for fact in probe(report.output).facts[0])
    with av.open(str(report.output)) as container:
        pictures = {bytes(frame.planes[0]) for frame in container.decode(video=0)}
    assert abs(len(pictures) - 100) <= 2


@pytest.mark.parametrize("name", BOTTOM_FIRST)
def test_the_bottom_field_first(name: str, sources: Path, studio: Studio) -> None:
    assert "parity=bff" in " ".join(studio.encode(sources / name).argv)
    assert "parity=auto" in " ".join(studio.encode(sources / name, deinterlace="always").argv)
    report = studio.encode(sources / name, deinterlace="never")
    assert [each for each in probe(report.output).facts[0] if isinstance(each, Interlaced)] == [
        Interlaced("bff")
    ]


def test_a_tape_that_ends_in_the_middle_of_a_picture(
    sources: Path, studio: Studio, tmp_path: Path
) -> None:
    whole = (sources / "bottom.dv").read_bytes()
    (tmp_path / "cut.dv").write_bytes(whole[: len(whole) // 2 + 1000])
    assert studio.copy(sources / "bottom.dv").warnings == ()
    (said,) = studio.copy(tmp_path / "cut.dv").warnings
    assert said.startswith("'cut.dv' ends in the middle")


_FASTER = (
    "-f lavfi -i testsrc2=s=160x120:r=25:d=2 -f lavfi -i testsrc2=s=160x120:r=50:d=2"
    " -filter_complex '[0][1]concat' -fps_mode passthrough -enc_time_base 1/1000"
)


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize(("name", "codec"), [("faster.mkv", "h264"), ("faster.mp4", "hevc")])
def test_a_frame_rate_that_rises(name: str, codec: str, output: str, studio: Studio) -> None:
    source = studio.make(name, f"{_FASTER} {X264} -g 25")
    report = studio.encode(source, output, video_codec=codec, verify="full")
    assert report.warnings == ()
    with av.open(str(report.output)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 150
    assert times[100] - times[99] == pytest.approx(0.02, abs=0.002)


def test_an_older_ffmpeg_that_has_mp4_keep_one_rate(studio: Studio) -> None:
    """As ffmpeg 5 does, which shows a picture anew at each tick of an encoder's clock."""
    source = studio.make("faster.mkv", f"{_FASTER} {X264} -g 25")
    body = (
        "at = sys.argv.index('-map')\n"
        "sys.argv[at:at] = ['-fps_mode', 'cfr', '-frames:v', '400']\n"
        "os.execv(ffmpeg, sys.argv)"
    )
    report = studio.encode(source, "out.mp4", how=studio.program(body))
    with av.open(str(report.output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 150


def test_pictures_without_room_are_warned_of(studio: Studio) -> None:
    """Faster ones where nobody looked: before the first key picture in the middle."""
    source = studio.make("faster.mkv", f"{_FASTER} {X264} -g 250")
    report = studio.encode(source)
    with av.open(str(report.output)) as container:
        left = 150 - sum(1 for _ in container.decode(video=0))
    assert report.warnings == (
        f"{left} pictures were left out of the video, which had no room between others.",
    )


def test_interlaced_video_that_shall_stay_so(sources: Path, studio: Studio) -> None:
    report = studio.encode(sources / "fields.mkv", deinterlace="never")
    assert "stays interlaced and is coded so" in report.notes[0]
    assert any(isinstance(fact, Interlaced) for fact in probe(report.output).facts[0])
    with pytest.raises(EncodingError, match="would blend its fields: leave deinterlace at 'auto'"):
        studio.encode(sources / "fields.mkv", deinterlace="never", resolution="480p")
    assert studio.copy(sources / "fields.mkv").notes == ()
    report = studio.encode(sources / "fields.mkv", video_codec="hevc", deinterlace="never")
    assert report.notes == ("Video 0 stays interlaced.",)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_telecine(codec: str, studio: Studio) -> None:
    """Of ten bits, which what puts pictures together again does not keep."""
    source = studio.make("telecine.mov", f"{_TELECINED} -c:v prores_ks -pix_fmt yuv422p10le")
    report = studio.encode(source, video_codec=codec)
    (note,) = (each for each in report.notes if "was telecined" in each)
    assert note.endswith(" Of 10 bits a sample this leaves 8.") == (codec == "hevc")
    assert "fieldmatch" in " ".join(report.argv)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("dolby-5.mp4", {}, "copy it into an .mkv or .mp4, or set allow_loss"),
        ("dolby-5.mp4", {"output": "out.mov", "video_codec": "copy"}, "or set allow_loss"),
        ("hlg.mkv", {"hdr": "refuse"}, "H.264 at 8 bits cannot keep: choose HEVC, AV1 or VP9"),
        ("outside.mkv", {"hdr": "refuse"}, "Video 0 is HDR .PQ., which H.264 at 8 bits cannot"),
    ],
)
def test_a_loss_that_is_refused(
    name: str, values: dict[str, Any], said: str, sources: Path, studio: Studio
) -> None:
    studio.refuses(said, sources / name, **values)


COPY, HEVC = {"video_codec": "copy"}, {"video_codec": "hevc"}
TO_MP4, TO_MOV = {"output": "out.mp4"}, {"output": "out.mov"}
_FEWER = "colour; the output 8 and 4:2:0."
_TONE_MAPPED = ["was tone-mapped to SDR"]
_NO_ALPHA = ["loses its transparency"]
# Of each source, by what becomes of it, a part of each warning and of each note.
SAID: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("dolby-5.mp4", {"allow_loss": True}, ["its colours are wrong now", "tone-mapped"], [_FEWER]),
    ("dolby-7.mp4", HEVC, ["profile 7, which is lost in an encode"], []),
    ("dolby-8.mp4", {"video_codec": "av1"}, ["profile 8, which is lost in an encode"], []),
    ("dolby-8.mp4", COPY | TO_MOV, ["is lost in QuickTime"], []),
    ("hlg.mkv", HEVC | {"hdr": "tonemap"}, _TONE_MAPPED, []),
    ("hlg.mkv", HEVC | TO_MOV, [], []),
    *((name, {}, _TONE_MAPPED, [_FEWER]) for name in ("hlg.mkv", "outside.mkv", "outside.mp4")),
    *((name, {}, _TONE_MAPPED, [_FEWER]) for name in ("only-pq.mkv", "rgb.mkv")),
    ("alpha.mov", {}, _NO_ALPHA, [_FEWER]),
    ("alpha.mov", COPY | TO_MOV, [], []),
    ("alpha.webm", {"output": "out.webm", "video_codec": "vp9"}, _NO_ALPHA, []),
    ("alpha.webm", COPY | TO_MP4, _NO_ALPHA, []),
    ("ttml.mp4", {}, ["Stream left out: 2 (subtitle ttml)."], []),
    ("plain.mp4", {}, [], ["has 10 bits a sample and 4:2:0 colour; the output 8 and 4:2:0."]),
    ("plain.mp4", HEVC, [], []),
    ("plain.mp4", COPY, [], []),
    ("444.mkv", HEVC, [], ["has 8 bits a sample and 4:4:4 colour; the output 8 and 4:2:0."]),
    ("late.mkv", {}, [], []),
    *(("nine.mkv", {"video_codec": codec}, [], []) for codec in ("hevc", "av1", "vp9")),
    ("fields-outside.mkv", COPY, [], []),
    (
        *("fields-outside.mkv", COPY | TO_MOV),
        *(["Video 0 stays interlaced, and QuickTime does not tell players so."], []),
    ),
    ("tagged.mkv", COPY, [], []),
    ("tagged.mkv", COPY | TO_MP4, ["MP4 does not keep the tags 'director', 'imdb'."], []),
    *(("3d.mkv", how | to, [], []) for how in (HEVC, COPY) for to in ({}, TO_MP4, TO_MOV)),
    # MP4 does not tell the layers of MPEG sound apart.
    ("layers.mp4", {}, [], []),
    ("pcm.wav", COPY | TO_MP4, [], ["(pcm_s24le) and is aac now"]),
    ("sound.flac", COPY | TO_MOV, [], ["(flac) and is aac now"]),
    ("truehd.mkv", COPY | TO_MP4, [], ["(truehd) and is aac now"]),
    ("sound.flac", COPY | TO_MP4, [], []),
    ("ac3.mkv", COPY | {"output": "out.webm"}, [], []),
]


@pytest.mark.parametrize(("name", "values", "warnings", "notes"), SAID)
def test_what_is_said(
    name: str,
    values: dict[str, Any],
    warnings: list[str],
    notes: list[str],
    sources: Path,
    studio: Studio,
) -> None:
    report = studio.encode(sources / name, **values)
    for parts, said in ((warnings, report.warnings), (notes, report.notes)):
        assert len(said) == len(parts), said
        assert all(part in each for part, each in zip(parts, said, strict=True)), said
    with av.open(str(report.output)) as container:
        for video in container.streams.video:
            assert "ALPHA_MODE" not in {key.upper() for key in video.metadata}
            frame = next(container.decode(video))
            assert int(frame.color_trc) == 1 or not any("tone-mapped" in each for each in warnings)


@pytest.mark.parametrize(
    ("name", "transfer", "others"),
    [
        *(("outside.mkv", 16, 9), ("outside.mp4", 16, 9), ("only-pq.mkv", 16, 9)),
        *(("sdr-outside.mkv", 1, 1), ("large.mkv", 1, 1), ("large-rgb.mkv", 1, 1)),
    ],
)
def test_colours_that_pictures_do_not_say(
    name: str, transfer: int, others: int, sources: Path, studio: Studio
) -> None:
    """Numbers are those of ITU-T H.273: 16 is PQ, 9 BT.2020, 1 BT.709."""
    report = studio.encode(sources / name, video_codec="hevc", resolution="480p")
    assert report.warnings == ()
    with av.open(str(report.output)) as container:
        frame = next(container.decode(video=0))
    said = (frame.color_trc, frame.color_primaries, frame.colorspace)
    assert said == (transfer, others, others)
    if name == "large-rgb.mkv":
        assert bytes(frame.planes[0])[0] == pytest.approx(63, abs=1)  # red; 81 in BT.601


@pytest.mark.parametrize("profile", [5, 7, 8])
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_dolby_vision_is_copied(profile: int, output: str, sources: Path, studio: Studio) -> None:
    report = studio.copy(sources / f"dolby-{profile}.mp4", output)
    assert report.warnings == ()
    facts = probe(report.output).facts[0]
    assert set(probe(sources / f"dolby-{profile}.mp4").facts[0]) <= set(facts)


def test_dolby_vision_is_encoded_by_the_ffmpeg_that_comes_along(
    sources: Path, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones mark the output as Dolby Vision, too, which is refused."""
    make_program(tmp_path / "ffmpeg", "sys.exit(1)")
    monkeypatch.setenv("PATH", str(tmp_path))
    (said,) = studio.encode(sources / "dolby-8.mp4", video_codec="hevc").warnings
    assert "profile 8, which is lost in an encode" in said


def test_dolby_vision_of_av1_is_copied(sources: Path, studio: Studio, tmp_path: Path) -> None:
    source = studio.make("plain.mp4", f"{PICTURE} -t 0.4 -c:v libsvtav1 -pix_fmt yuv420p10le")
    _add_dolby_vision(source, tmp_path / "dolby.mp4", 10, 1, codec=b"av01")
    for output in ("out.mp4", "out.mkv", "out.webm"):
        report = studio.copy(tmp_path / "dolby.mp4", output)
        assert report.warnings == ()
        assert DolbyVision(10, fallback=True) in probe(report.output).facts[0]


@pytest.mark.parametrize(
    ("output", "tag", "word"),
    [
        *(("MP4", "fr", "fra"), ("MP4", "pt-BR", "por"), ("MP4", "en-US", "eng")),
        *(("MP4", "zh-Hans", "zho"), ("MP4", "fre", "fra"), ("MP4", "es-419", "spa")),
        *(("MP4", "english", "eng"), ("MP4", "qaa", "qaa"), ("MP4", "en_US", "eng")),
        *(("QuickTime", "deu", "ger"), ("QuickTime", "nld", "dut"), ("QuickTime", "swe", "sve")),
        *(("QuickTime", "ces", "ces"), ("QuickTime", "en-US", "eng")),
        *(("MP4", "x-private", None), ("QuickTime", "hr", None)),
    ],
)
def test_languages(output: str, tag: str, word: str | None, studio: Studio, sources: Path) -> None:
    arguments = f"-i {sources / 'late.mkv'} -map 0 -c copy -metadata:s:a language={tag}"
    source = studio.make("film.mkv", arguments)
    report = studio.copy(source, "out.mp4" if output == "MP4" else "out.mov")
    assert (probe(report.output).streams[1].language or None) in {word, word or "und"}
    says = f"{output} has no word for the language {tag!r} of stream 1."
    assert report.warnings == (() if word else (says,))


@pytest.fixture
def marked(clips: Path, tmp_path: Path) -> Path:
    """Give a film with several tracks of a kind, none of which is the default."""
    make_clips(
        tmp_path,
        {
            "marked.mkv": f"-i {clips / 'film.mkv'} -map 0 -map 0:a -map 0:s -map 0:s -c copy"
            " -metadata:s:s language=eng -metadata:s:a:1 title=Commentary -disposition:a:0 original"
            " -disposition:a:1 comment+visual_impaired -disposition:s:0 0 -disposition:s:1 forced"
            " -disposition:s:2 hearing_impaired"
        },
    )
    return tmp_path / "marked.mkv"


def _marks(path: Path) -> list[set[str]]:
    with av.open(str(path)) as film:
        kept = [stream.disposition for stream in film.streams if stream.type != "video"]
    names = ("default", "original", "comment", "forced", "hearing_impaired", "visual_impaired")
    return [{each.name for each in type(mark) if each in mark} & {*names} for mark in kept]


@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_no_track_becomes_the_default(codec: str, marked: Path, studio: Studio) -> None:
    report = studio.encode(marked, video_codec=codec)
    assert report.warnings == ()
    assert _marks(report.output) == _marks(marked)
    assert _marks(marked).count(set()) == 1


@pytest.mark.parametrize(
    ("output", "lost"),
    [
        ("out.mp4", ["Audio 1 is no longer marked as original in MP4."]),
        (
            "out.mov",
            [
                "Audio 1 is no longer marked as original in QuickTime.",
                "Subtitle 4 is no longer marked as forced in QuickTime.",
            ],
        ),
    ],
)
def test_what_a_track_is_for(output: str, lost: list[str], marked: Path, studio: Studio) -> None:
    report = studio.copy(marked, output)
    assert set(lost) <= set(report.warnings)
    assert len(report.warnings) == (1 if output == "out.mp4" else 5)
    assert studio.copy(report.output, "again.mkv").warnings == ()


@pytest.mark.parametrize("again", ["again.mp4", "again.mov", "again.mkv"])
@pytest.mark.parametrize("first", ["first.mp4", "first.mov"])
def test_the_title_of_a_track(first: str, again: str, marked: Path, studio: Studio) -> None:
    """MP4's demuxer calls it by a name that no muxer takes for a title."""
    report = studio.copy(studio.copy(marked, first).output, again)
    assert not any("loses its title" in said for said in report.warnings)
    assert [each.title for each in probe(report.output).streams][2] is None
    (audio,) = (each for each in probe(report.output).streams if each.title)
    assert (audio.kind, audio.title) == ("audio", "Commentary")
    with av.open(str(report.output)) as film:
        tags = film.streams[audio.index].metadata
    assert ("NAME" in tags, "title" in tags) == (False, again == "again.mkv")


def test_statistics_of_another_file_go(sources: Path, studio: Studio) -> None:
    for codec in ("h264", "copy"):
        with av.open(str(studio.encode(sources / "counted.mkv", video_codec=codec).output)) as film:
            kept = {key for stream in film.streams for key in stream.metadata}
        assert not {
            key for key in kept if key.startswith(("BPS", "NUMBER_OF", "_STAT", "DURATION-"))
        }


def test_the_films_title_whatever_is_named_first(studio: Studio) -> None:
    streams = [("film.srt", 0), ("film.mkv", 0), ("film.mkv", 1)]
    with av.open(str(studio.encode(None, streams=streams).output)) as film:
        assert film.metadata["title"] == "The Film"


def test_a_title_that_only_the_second_file_has(chapters: str, studio: Studio) -> None:
    film = studio.make("film.mkv", f"{chapters} -map 0")
    bare = studio.make("bare.h264", f"{PICTURE} {X264}")
    report = studio.copy(None, streams=[(bare, 0), (film, 1)])
    with av.open(str(report.output)) as film:
        assert film.metadata["title"] == "The Film"
        assert len(film.chapters()) == 2


def test_chapters_that_get_lost(chapters: str, studio: Studio) -> None:
    source = studio.make("film.mkv", f"{chapters} -map 0")
    body = "os.execv(ffmpeg, [*sys.argv[:-1], '-map_chapters', '-1', sys.argv[-1]])"
    assert studio.copy(source, "whole.mkv").warnings == ()
    assert studio.copy(source, how=studio.program(body)).warnings == ("Of 2 chapters 2 are lost.",)


@pytest.mark.parametrize("output", ["out.mp4", "out.mov"])
@pytest.mark.parametrize("titles", [("One", "Chapter 2"), ("Chapter 1", "Chapter 2")])
def test_chapters_without_a_title(
    titles: tuple[str, str], output: str, chapters: str, studio: Studio, tmp_path: Path
) -> None:
    file = tmp_path / "chapters"
    for gone in {"One", "Two"}.difference(titles):
        file.write_text(file.read_text().replace(f"title={gone}\n", ""))
    source = studio.make("film.mkv", f"{chapters} -map 0")
    with av.open(str(studio.copy(source, output).output)) as film:
        known = film.chapters()
    seconds = [each["start"] * (each["time_base"] or 0) for each in known]
    assert (seconds, [each["metadata"]["title"] for each in known]) == ([0, 1], [*titles])


def test_a_reference_to_chapters_that_are_elsewhere_is_no_damage(
    chapters: str, studio: Studio, tmp_path: Path
) -> None:
    file = tmp_path / "chapters"
    file.write_text(file.read_text().replace("title=One\n", "").replace("title=Two\n", ""))
    source = studio.make("film.mp4", f"{chapters} -map 0:v -map 0:a")
    report = studio.copy(source)
    assert report.warnings == ()
    with av.open(str(report.output)) as film:
        assert len(film.chapters()) == 2


@pytest.mark.parametrize("name", ["song.ogg", "film.ogv"])
def test_what_an_ogg_file_says_of_itself(name: str, studio: Studio) -> None:
    """It says so in each of its tracks."""
    tags = "-metadata title=Song -metadata artist=Me -metadata mood=calm"
    picture = PICTURE if name == "film.ogv" else ""
    source = studio.make(name, f"{picture} {TONE} -c:a libvorbis {tags}")
    codec = "h264" if picture else "copy"
    for output, lost in (("out.mkv", ()), ("out.mp4", ("MP4 does not keep the tag 'mood'.",))):
        report = studio.encode(source, output, video_codec=codec)
        assert report.warnings == lost
        with av.open(str(report.output)) as film:
            kept = {key.lower(): value for key, value in film.metadata.items()}
        assert (kept["title"], kept["artist"]) == ("Song", "Me")


def test_a_rotation(studio: Studio, tmp_path: Path) -> None:
    make_clips(
        tmp_path, {"turned.mp4": f"-display_rotation 90 -i {studio.clips / 'hdr.mkv'} -c copy"}
    )
    turned = tmp_path / "turned.mp4"
    for output in ("out.mkv", "out.mp4", "out.mov"):
        report = studio.copy(turned, output)
        assert report.warnings == ()
        assert probe(report.output).streams[0].shown_size == (120, 160)
    report = studio.encode(turned, video_codec="hevc")
    assert report.warnings == ()
    assert probe(report.output).streams[0].shown_size == (120, 160)
    # As ffmpeg 5 writes Matroska.
    body = "at = sys.argv.index('-i')\nsys.argv[at:at] = ['-display_rotation', '0']\n"
    how = {"ffmpeg": make_program(tmp_path / "upright", f"{body}os.execv(ffmpeg, sys.argv)")}
    assert studio.copy(turned, "upright.mkv", how=how).warnings == ("Video 0 loses its rotation.",)


@pytest.mark.parametrize("name", ["dub.mka", "dub.m4a"])
@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
def test_a_dub_of_its_own_that_begins_late(
    name: str, output: str, sources: Path, studio: Studio
) -> None:
    source = studio.make(name, f"-i {sources / 'late.mkv'} -map 0:a -c copy -copyts")
    for codec in ("h264", "copy"):
        streams = [(source, 0), ("film.mkv", 0)]
        report = studio.encode(None, output, streams=streams, video_codec=codec, verify="full")
        assert report.warnings == ()
        dub, film = probe(report.output).streams
        assert dub.begins - film.begins == pytest.approx(0.6, abs=0.05)


def test_a_larger_output(studio: Studio) -> None:
    report = studio.encode("film.mp4", crf=0)
    assert "larger than its source" in report.to_markdown()
    assert report.size > report.source_size
    studio.refuses("larger than its source, which refuse", "film.mp4", crf=0, refuse_larger=True)


def test_a_quality(studio: Studio) -> None:
    found = studio.encode("film.mp4", quality=88).quality
    assert found is not None
    assert found.measured == pytest.approx(88, abs=1)
    phases: list[str] = []
    note = lambda progress: phases.append(progress.phase)  # noqa: E731
    report = studio.encode("film.mp4", quality="good", verify="full", how={"on_progress": note})
    assert report.quality is not None
    assert report.quality.measured == pytest.approx(93, abs=1)
    assert f"CRF {report.quality.crf:g}" in report.to_markdown()
    assert "Verified (full)" in report.to_markdown()
    assert [path.name for path in studio.folder.iterdir()] == ["out.mkv"]


def test_full_verification_finds_another_picture(studio: Studio) -> None:
    """An encoder that paints: the output is well formed, and is not the film."""
    body = (
        "at = sys.argv.index('-pix_fmt:v:0')\n"
        "sys.argv[at:at] = ['-filter:v:0', 'drawbox=c=black:t=fill']\n"
        "os.execv(ffmpeg, sys.argv)"
    )
    studio.refuses(
        "shows another picture than its source at 0:0",
        "film.mp4",
        verify="full",
        how=studio.program(body),
    )


def test_full_verification_finds_a_faulty_disk(studio: Studio) -> None:
    """Which changes what the encoder wrote: quick verification does not decode it."""
    body = (
        "subprocess.run([ffmpeg, *sys.argv[1:]], check=True)\n"
        "with open(target, 'r+b') as file:\n"
        "    file.seek(os.stat(target).st_size // 2)\n"
        "    file.write(bytes(2000))"
    )
    streams, how = [("film.mp4", 0)], studio.program(body)
    assert studio.encode(None, streams=streams, how=how).warnings == ()
    studio.refuses(
        r"The output does not decode (at|from) 0:0[01].*: check the disk",
        None,
        streams=streams,
        verify="full",
        how=how,
    )


@pytest.mark.parametrize(
    ("layout", "output", "channels"),
    [
        *(("2.1", "out.webm", 6), ("3.0", "out.webm", 6), ("7.0", "out.webm", 8)),
        *(("mono", "out.webm", 1), ("stereo", "out.webm", 2), ("7.1.4", "out.webm", 8)),
        *(("2.1", "out.mp4", 3), ("7.1.4", "out.mp4", 8)),
    ],
)
def test_channels(layout: str, output: str, channels: int, studio: Studio, tmp_path: Path) -> None:
    noise = f"-f lavfi -i anoisesrc=d=1:r=48000,aformat=channel_layouts={layout}"
    make_clips(tmp_path, {"sound.wav": f"{noise} -c:a pcm_s16le"})
    report = studio.copy(tmp_path / "sound.wav", output)
    says = ("Audio 0 has fewer channels than the 12 of its source.",)
    assert report.warnings == (says if layout == "7.1.4" else ())
    assert probe(report.output).streams[0].channels == channels


@pytest.mark.parametrize("layout", ["5.1(side)", "6.1"])
def test_players_know_how_surround_sound_is_arranged(layout: str, studio: Studio) -> None:
    noise = f"-f lavfi -i anoisesrc=d=1:r=48000,aformat=channel_layouts={layout}"
    source = studio.make("sound.mka", f"{noise} -c:a flac")
    with av.open(str(studio.copy(source, "out.mov").output)) as container:
        config = container.streams[0].codec_context.extradata
    assert config is not None
    assert (config[1] >> 3) & 15 != 0  # an arrangement of ISO 14496-3, none of its own


def test_sound_that_gets_more_channels_in_the_middle(studio: Studio, tmp_path: Path) -> None:
    noise = "-f lavfi -i 'anoisesrc=d=1,aformat=channel_layouts={}' -c:a ac3"
    make_clips(tmp_path, {"2.mka": noise.format("stereo"), "6.mka": noise.format("5.1")})
    (tmp_path / "list").write_text("file 2.mka\nfile 6.mka\n")
    make_clips(tmp_path, {"both.ts": "-f concat -i list -c copy"})
    assert studio.copy(tmp_path / "both.ts").warnings == ()
    assert studio.copy(tmp_path / "both.ts", "out.webm").warnings == (
        "Audio 0 has more channels in the middle (5.1(side)): all of it has 2 now, as it begins "
        "with.",
    )


def test_a_gap_in_sound_stays_where_nothing_but_samples_counts_time(studio: Studio) -> None:
    gap = "-bsf:a \"noise=drop='between(pts*tb,0.2,0.6)'\""
    source = studio.make("sound.mkv", f"{_SOUND} -c:a pcm_s16le {gap}")
    report = studio.copy(source, "out.mov")
    assert probe(report.output).streams[0].duration == pytest.approx(1, abs=0.05)


def _checksum(path: Path) -> str:
    """Sum up all that is decoded of a file, sound with all of its bits."""
    argv = [FFMPEG, "-v", "error", "-i", path, "-c:a", "pcm_f64le", "-f", "md5", "-"]
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


_EDITED = f"{PICTURE} -t 0.4 -c:v"
_DNXHD = f"{_EDITED} dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p -s 320x180"
# How each is made, and as which codec it stands in the output.
WHOLE = [
    *(("a.nut", f"{_SOUND} -c:a {c}", "mov", c) for c in ("pcm_s24be", "pcm_s32be", "pcm_f32be")),
    *(("a.nut", f"{_SOUND} -c:a {c}", "mov", c) for c in ("pcm_f64be", "pcm_f64le", "pcm_alaw")),
    *(("a.nut", f"{_SOUND} -c:a {c}", "mkv", c) for c in ("pcm_s32be", "pcm_f64le", "pcm_mulaw")),
    ("a.nut", f"{_SOUND} -c:a pcm_f32be", "mkv", "pcm_f32le"),
    ("a.nut", f"{_SOUND} -c:a pcm_f64be", "mkv", "pcm_f64le"),
    ("a.nut", f"{_SOUND} -c:a pcm_u16le", "mov", "pcm_s24le"),
    ("a.nut", f"{_SOUND} -c:a pcm_s24be", "mkv", "flac"),
    ("a.ts", f"{_SOUND} -c:a s302m -ac 2 -strict -2", "mkv", "flac"),
    ("a.nut", f"{_SOUND},aformat=channel_layouts=7.1.4 -c:a pcm_s24be", "mkv", "pcm_s24le"),
    *(("a.mxf", _DNXHD, ending, "dnxhd") for ending in ("mkv", "mov")),
    ("a.avi", f"{_EDITED} huffyuv -pix_fmt yuv422p", "mkv", "huffyuv"),
    ("a.avi", f"{_EDITED} rawvideo -pix_fmt yuv420p", "mkv", "rawvideo"),
    ("a.avi", f"{_EDITED} utvideo -pix_fmt yuv420p", "mkv", "utvideo"),
    ("a.mkv", f"{_EDITED} cfhd -pix_fmt yuv422p10le", "mov", "cfhd"),
    ("a.avi", f"{_EDITED} png", "mov", "png"),
    ("a.mov", f"{_EDITED} qtrle", "mov", "qtrle"),
]


@pytest.mark.parametrize(("name", "made", "ending", "codec"), WHOLE)
def test_not_a_bit_is_lost(name: str, made: str, ending: str, codec: str, studio: Studio) -> None:
    source = studio.make(name, made)
    report = studio.copy(source, f"out.{ending}")
    assert (report.warnings, report.notes) == ((), ())
    assert probe(report.output).streams[0].codec == codec
    assert _checksum(report.output) == _checksum(source)
