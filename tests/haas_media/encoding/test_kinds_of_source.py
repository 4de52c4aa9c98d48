"""Sources as they are found in the wild: whole ones are taken, whatever their clocks say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import av
import pytest

from haas_media.encoding.probe import probe
from tests.haas_media.encoding.conftest import PICTURE, TONE, X264, make_clips

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_media.encoding.conftest import Studio

_GAP = "='lt(t\\,0.5)+gt(t\\,1.2)'"
_CADENCE = "-f lavfi -i testsrc2=s=160x120:r=24000/1001:d=2 -vf telecine=pattern=23"
_MUCH_LATER = "-f lavfi -i testsrc2=s=160x120:r=5:d=11 -itsoffset 10 -f lavfi -i sine=d=1"
# How each is made, and how long it is.
SOURCES = {
    "stream.ts": (f"{PICTURE} {TONE} {X264} -c:a mp2", 2),
    "late.ts": (f"{PICTURE} {TONE} {X264} -c:a mp2 -output_ts_offset 5000", 2),
    "late.mkv": (f"{PICTURE} {TONE} {X264} -c:a aac -output_ts_offset 5", 2),
    "old.avi": (f"{PICTURE} {TONE} -c:v mpeg4 -c:a libmp3lame", 2),
    "disc.vob": (f"{PICTURE} {TONE} -c:v mpeg2video -c:a ac3", 2),
    "windows.wmv": (f"{PICTURE} {TONE} -c:v wmv2 -c:a wmav2", 2),
    "flash.flv": (f"{PICTURE} {TONE} -c:v flv -c:a libmp3lame -ar 44100", 2),
    "free.ogv": (f"{PICTURE} {TONE} -c:v libtheora -c:a libvorbis", 2),
    "telephone.3gp": (f"{PICTURE} {TONE} -c:v mpeg4 -c:a aac", 2),
    "fragments.mp4": (f"{PICTURE} {TONE} {X264} -c:a aac -movflags frag_keyframe+empty_moov", 2),
    "no-length.mkv": (f"{PICTURE} {TONE} {X264} -c:a aac -live 1", 2),
    "raw.h264": (f"{PICTURE} {X264}", 2),
    "long-sound.mp4": (f"{PICTURE} -f lavfi -i sine=d=4 {X264} -c:a aac", 4),
    "short-sound.mkv": (f"{PICTURE} -f lavfi -i sine=d=1 {X264} -c:a aac", 2),
    "slides.mkv": (f"-f lavfi -i testsrc2=s=160x120:r=1/4:d=12 {X264}", 12),
    "gap.mkv": (f"{PICTURE} -vf 'select=lt(n\\,10)+gt(n\\,40)' -fps_mode vfr {X264}", 2),
    "reordered.mp4": (f"{PICTURE} -c:v libx264 -bf 8 -x264-params b-adapt=0:bframes=8", 2),
    "fields.mkv": (f"{PICTURE} {TONE} -vf interlace -c:v libx264 -flags +ilme+ildct -c:a ac3", 2),
    "late-sound.mkv": (f"{PICTURE} -itsoffset 0.6 {TONE} {X264} -c:a aac", 2.6),
    "late-sound.ts": (f"{PICTURE} -itsoffset 0.7 {TONE} {X264} -c:a mp2", 2.7),
    "later-sound.ts": (f"{_MUCH_LATER} {X264} -c:a aac", 11),
    "later-sound.vob": (f"{_MUCH_LATER} -c:v mpeg2video -r 25 -c:a ac3", 11),
    "later-sound.flv": (f"{_MUCH_LATER} -c:v flv -c:a libmp3lame -ar 44100", 11),
    "later-sound.mp4": (f"{_MUCH_LATER} {X264} -c:a aac", 11),
    "late-picture.mp4": (f"-itsoffset 1 {PICTURE} {TONE} {X264} -c:a aac", 3),
    "early.mp4": (f"{PICTURE} {TONE} {X264} -bf 3 -c:a aac -movflags negative_cts_offsets", 2),
    "negative.mkv": (f"{PICTURE} {TONE} {X264} -c:a libopus -avoid_negative_ts disabled", 2),
    "variable.mkv": (
        f"{PICTURE} -vf setpts='(N*0.04+mod(N\\,3)*0.012)/TB' -fps_mode passthrough"
        f" -enc_time_base 1/1000 {X264}",
        2,
    ),
    "variable.mp4": (
        f"{PICTURE} {TONE} -vf setpts='(N*0.03+N*N*0.0004)/TB' -fps_mode passthrough"
        f" -enc_time_base 1/1000 {X264} -c:a aac",
        2.45,
    ),
    "variable.webm": (
        f"{PICTURE} {TONE} -vf select='gt(random(1)\\,0.4)' -fps_mode vfr -c:v libvpx"
        " -deadline realtime -c:a libvorbis",
        2,
    ),
    "telecine.mkv": (f"{_CADENCE},setfield=prog {X264}", 2),
    "telecine.vob": (f"{_CADENCE} -c:v mpeg2video -flags +ilme+ildct", 2),
    "wraps.ts": (f"{PICTURE} {TONE} {X264} -c:a mp2 -output_ts_offset 95441.5", 2),
    "silence.mkv": (f"{PICTURE} {TONE} -af aselect{_GAP} {X264} -c:a aac", 2),
    "gap.ts": (
        f"{PICTURE} {TONE} -vf select{_GAP} -fps_mode vfr -af aselect{_GAP} {X264} -c:a mp2",
        2,
    ),
    "one-picture.mp4": (f"{PICTURE} {TONE} -vf trim=end_frame=1 {X264} -c:a aac", 2),
    "one-picture.mkv": (f"{PICTURE} {TONE} -vf trim=end_frame=1 {X264} -c:a aac", 2),
    "fast.mp4": (f"-f lavfi -i testsrc2=s=160x120:r=120:d=1 {X264}", 1),
    "open.ts": (
        f"{PICTURE} {TONE} -c:v libx264 -g 20 -bf 3 -flags -cgop -x264-params open-gop=1"
        " -pix_fmt yuv420p -c:a mp2",
        2,
    ),
    "blu-ray.m2ts": (f"{PICTURE} {TONE} {X264} -c:a ac3 -mpegts_m2ts_mode 1", 2),
    "long-groups.ts": (f"{PICTURE}:d=20 {TONE}:d=20 {X264} -c:a mp2", 20),
    "camera.mxf": (f"{PICTURE} {TONE} -c:v mpeg2video -ar 48000 -c:a pcm_s16le", 2),
    "no-index.avi": (f"{PICTURE} {TONE} -c:v mpeg4 -c:a libmp3lame -q:a 5", 2),
    "no-index.mkv": (f"{PICTURE} {TONE} {X264} -c:a aac", 2),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    made = {name: arguments for name, (arguments, _) in SOURCES.items()}
    # Four seconds, of which an edit list shows the last two and a half.
    made["whole.mp4"] = f"-f lavfi -i testsrc2=s=160x120:r=25:d=4 {X264} -g 250"
    made["trimmed.mp4"] = "-ss 1.5 -i whole.mp4 -c copy"
    make_clips(folder, made)
    # The index becomes something that nobody knows.
    for name, index, other in (
        ("no-index.avi", b"idx1", b"JUNK"),
        ("no-index.mkv", b"\x1c\x53\xbb\x6b", b"\x1c\x53\xbb\x6c"),
    ):
        whole = (folder / name).read_bytes()
        assert index in whole
        (folder / name).write_bytes(whole.replace(index, other))
    return folder


@pytest.mark.parametrize("name", [*SOURCES, "trimmed.mp4"])
def test_a_whole_source_is_taken(name: str, sources: Path, studio: Studio) -> None:
    seconds = 2.5 if name == "trimmed.mp4" else SOURCES[name][1]
    report = studio.encode(sources / name, "out.mp4", verify="full")
    assert report.duration.total_seconds() == pytest.approx(seconds, abs=0.2)
    assert report.warnings == ()
    report = studio.copy(sources / name, "out.mkv")
    if name == "trimmed.mp4":
        # Matroska has no edit lists, so what was hidden shows, and the report says so.
        assert "long, but the source says that it has 2.5 s" in report.warnings[0]
    else:
        assert report.duration.total_seconds() == pytest.approx(seconds, abs=0.2)
        assert report.warnings == ()


def test_a_recording_may_begin_and_end_anywhere(
    sources: Path, studio: Studio, tmp_path: Path
) -> None:
    """A packet of a transport stream has 188 bytes."""
    whole = (sources / "open.ts").read_bytes()
    packets = len(whole) // 188
    (tmp_path / "part.ts").write_bytes(whole[188 * (packets // 3) : 188 * (packets * 9 // 10)])
    for codec in ("h264", "copy"):
        report = studio.encode(tmp_path / "part.ts", video_codec=codec)
        assert report.duration.total_seconds() > 0.8
        assert any("damaged at 0:00" in each for each in report.warnings)


def test_a_recording_that_ends_in_the_middle_of_a_sound(studio: Studio, tmp_path: Path) -> None:
    film = f"{PICTURE} {TONE} -c:v mpeg2video -c:a ac3"
    make_clips(tmp_path, {"whole.vob": film.replace("d=2", "d=4")})
    whole = (tmp_path / "whole.vob").read_bytes()
    (tmp_path / "part.vob").write_bytes(whole[: len(whole) // 2])
    for codec in ("h264", "copy"):
        warnings = studio.encode(tmp_path / "part.vob", video_codec=codec).warnings
        assert [each.startswith("The source is damaged at 0:0") for each in warnings] == [True]


def test_a_track_of_a_recording_that_holds_nothing(studio: Studio) -> None:
    """As broadcasters announce them; a packet of a transport stream has 188 bytes."""
    tracks = f"{PICTURE} {TONE} {TONE} -map 0 -map 1 -map 2 -streamid 2:300"
    source = studio.make("film.ts", f"{tracks} {X264} -c:a mp2")
    whole = source.read_bytes()
    packets = (whole[at : at + 188] for at in range(0, len(whole), 188))
    kept = (each for each in packets if int.from_bytes(each[1:3]) & 0x1FFF != 300)
    source.write_bytes(b"".join(kept))
    for codec in ("h264", "copy"):
        report = studio.encode(source, video_codec=codec)
        assert [each.kind for each in report.streams] == ["video", "audio"]
        assert report.warnings == ("Stream left out: 2 (audio mp3).",)


@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_a_clock_that_jumps(codec: str, studio: Studio, tmp_path: Path) -> None:
    """Recordings that were put one behind the other, the later with larger pictures."""
    film = f"{PICTURE} {TONE} -c:v mpeg2video -c:a ac3 -f vob"
    larger = film.replace("160x120", "320x240")
    parts = {"one.vob": film, "later.vob": f"{larger} -output_ts_offset 1000"}
    make_clips(tmp_path, parts)
    one, later = ((tmp_path / name).read_bytes() for name in parts)
    for name, content in {"ahead.vob": one + later, "back.vob": later + one}.items():
        (tmp_path / name).write_bytes(content)
        report = studio.encode(tmp_path / name, video_codec=codec, verify="full")
        assert report.duration.total_seconds() == pytest.approx(4, abs=0.2)
    *others, warning = report.warnings
    assert warning.startswith("The source ends after 4.0 s of the ")
    assert [each.startswith("Video 0 changes its size") for each in others] == [True] * (
        codec != "copy"
    )


@pytest.mark.parametrize(
    ("codec", "larger", "aspect"),
    [("h264", True, "4:3"), ("hevc", False, "16:9"), ("copy", True, "4:3"), ("h264", False, "4:3")],
)
def test_a_recording_that_changes_its_shape(
    codec: str, larger: bool, aspect: str, studio: Studio, tmp_path: Path
) -> None:
    size = "s=320x240" if larger else "s=160x120"
    film = f"{PICTURE} -c:v mpeg2video -f vob -aspect"
    other = f"{film} {aspect} -output_ts_offset 2".replace("s=160x120", size)
    parts = {"one.vob": f"{film} 4:3", "other.vob": other}
    make_clips(tmp_path, parts)
    (tmp_path / "both.vob").write_bytes(b"".join((tmp_path / name).read_bytes() for name in parts))
    changes = codec != "copy" and (larger or aspect == "16:9")
    (*warnings,) = studio.encode(tmp_path / "both.vob", video_codec=codec).warnings
    said = [each.startswith("Video 0 changes its size or shape") for each in warnings]
    assert said == [True] * changes


@pytest.mark.parametrize(("codec", "ending"), [("hevc", "mkv"), ("hevc", "mp4"), ("av1", "mp4")])
def test_hdr_stays_hdr(codec: str, ending: str, studio: Studio) -> None:
    report = studio.encode("hdr.mkv", f"out.{ending}", video_codec=codec, crf=30)
    assert report.warnings == ()
    with av.open(str(report.output)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        kept = {side.type.name for side in frame.side_data}
        assert (context.color_trc, context.color_primaries, context.colorspace) == (16, 9, 9)
        assert context.pix_fmt == "yuv420p10le"
        assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kept


@pytest.mark.parametrize(
    ("name", "codec"),
    [("dub.aac", "-c:a aac"), ("dub.mp3", "-c:a libmp3lame -q:a 2 -write_xing 0")],
)
def test_a_bare_dub_is_as_long_as_its_packets(name: str, codec: str, studio: Studio) -> None:
    """It begins in silence, which takes little room: from that alone it would be much longer."""
    silence = """-f lavfi -i anoisesrc=d=30 -af "volume=0:enable='lt(t,5)'" """
    source = studio.make(name, silence + codec)
    media = probe(source)
    assert media.duration == media.streams[0].duration == pytest.approx(30, abs=0.1)
    report = studio.copy(None, streams=[("film.mkv", 0), (source, 0)])
    assert report.warnings == ()


def _with_captions(path: Path, made: Path, *, first: int) -> None:
    """Put captions before each picture of a bare H.264 stream from one on (ATSC A/53, part 4)."""
    captions = b"\xb5\x00\x31GA94\x03\xc2\xff" + b"\xfc\xc8\xe9" * 2 + b"\xff"
    message = b"\x00\x00\x00\x01\x06\x04" + bytes([len(captions)]) + captions + b"\x80"
    pictures = re.split(rb"(?=\x00\x00\x00\x01\x09)", path.read_bytes())[1:]
    for number, picture in enumerate(pictures[first:], first):
        slice_ = re.search(rb"\x00\x00(\x00)?\x01[\x01\x21\x41\x61\x25\x45\x65]", picture)
        assert slice_
        pictures[number] = picture[: slice_.start()] + message + picture[slice_.start() :]
    made.write_bytes(b"".join(pictures))


@pytest.mark.parametrize("rate", [25, 50])
@pytest.mark.parametrize(("codec", "kept"), [("h264", True), ("hevc", False)])
def test_captions_that_begin_late_are_not_lost_without_a_word(
    codec: str, kept: bool, rate: int, studio: Studio, tmp_path: Path
) -> None:
    source = (
        f"-f lavfi -i testsrc2=s=160x120:r={rate}:d=8 {X264} -g {rate} -bf 0 -x264-params aud=1"
    )
    make_clips(tmp_path, {"film.h264": source})
    _with_captions(tmp_path / "film.h264", tmp_path / "captions.h264", first=3 * rate)
    make_clips(tmp_path, {"film.mkv": f"-r {rate} -i captions.h264 -c copy"})
    report = studio.encode(tmp_path / "film.mkv", "out.mkv", video_codec=codec)
    assert report.warnings == (() if kept else ("Video 0 loses its closed captions.",))
    with av.open(str(report.output)) as container:
        sides = [side.type.name for f in container.decode(video=0) for side in f.side_data]
    assert ("A53_CC" in sides) == kept


def _chapters(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [chapter["metadata"]["title"] for chapter in container.chapters()]


@pytest.mark.parametrize(
    ("kind", "known", "unknown"),
    [
        ("audio", b"A_AC3", b"A_XX3"),
        ("subtitle", b"S_TEXT/UTF8", b"S_XEXT/UTF8"),
        ("video", b"V_MPEG4/ISO/AVC", b"V_XPEG4/ISO/AVC"),
    ],
)
@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_a_codec_that_nobody_knows(
    codec: str, kind: str, known: bytes, unknown: bytes, studio: Studio, tmp_path: Path
) -> None:
    """What is known is taken, and the rest named; but a film without its picture is none."""
    make_clips(
        tmp_path,
        {"film.mkv": f"-i {studio.clips / 'film.mkv'} -map 0 -map 0:a -c copy -c:a:1 ac3"},
    )
    film = tmp_path / "film.mkv"
    film.write_bytes(film.read_bytes().replace(known, unknown))
    index = {"video": 0, "subtitle": 2, "audio": 3}[kind]
    if kind == "video":
        studio.refuses("nothing that can be decoded", film, video_codec=codec)
    else:
        report = studio.encode(film, video_codec=codec)
        assert report.warnings == (f"Stream left out: {index} ({kind}).",)
        assert len(report.streams) == 3
    streams = [("film.mkv", 0), (film, index)]
    undecoded = "nothing that can be decoded: leave it out"
    said = "they cannot be converted" if kind == "subtitle" else undecoded
    studio.refuses(said, None, streams=streams, video_codec=codec)


@pytest.mark.parametrize("codec", ["h264", "copy"])
def test_a_cover_that_is_not_what_it_says(codec: str, studio: Studio, tmp_path: Path) -> None:
    cover = "-metadata:s:t mimetype=image/png -metadata:s:t filename=cover.png"
    make_clips(
        tmp_path,
        {
            "cover.jpg": f"{PICTURE} -frames:v 1",
            "film.mkv": f"-i {studio.clips / 'film.mkv'} -map 0 -c copy -attach cover.jpg {cover}",
        },
    )
    report = studio.encode(tmp_path / "film.mkv", video_codec=codec)
    assert report.warnings == ("Stream left out: 3 (a picture, not video).",)


def test_mp3_of_a_low_rate(studio: Studio) -> None:
    source = studio.make("old.avi", f"{PICTURE} {TONE} {X264} -c:a libmp3lame -ar 11025")
    for output, codec in (("out.mkv", "mp3"), ("out.mov", "mp3"), ("out.mp4", "aac")):
        report = studio.copy(source, output)
        assert report.warnings == ()
        assert probe(report.output).streams[1].codec == codec


@pytest.mark.parametrize("timecode", ["", "-timecode 01:00:00:00"])
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_the_tracks_of_chapters_and_timecode_are_none(
    ending: str, timecode: str, chapters: str, studio: Studio, tmp_path: Path
) -> None:
    """The muxer writes them anew; subtitles beside them stay."""
    source = tmp_path / f"chapters.{ending}"
    subtitles = "-map 0 -c:s mov_text -metadata:s:s:0 language=eng"
    make_clips(tmp_path, {source.name: f"{chapters} {subtitles} {timecode}"})
    for output in ("out.mp4", "out.mov", "out.mkv"):
        report = studio.copy(source, output)
        left = "Stream left out: 4 (data timecode)."
        assert list(report.warnings) == ([left] if timecode and output == "out.mkv" else [])
        assert [each.kind for each in report.streams] == ["video", "audio", "subtitle"]
        assert _chapters(report.output) == ["One", "Two"]
        with av.open(str(report.output)) as container:
            tags = {key.lower() for key in container.streams.video[0].metadata}
        assert ("timecode" in tags) == bool(timecode)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_chapters_that_look_like_subtitles(
    ending: str, chapters: str, studio: Studio, tmp_path: Path
) -> None:
    """As ffmpeg 5 writes them beside a timecode: no track refers to them."""
    source = tmp_path / f"chapters.{ending}"
    for name in (source.name, "chapters.mkv"):
        make_clips(tmp_path, {name: f"{chapters} -map 0:v"})
    body = (
        "subprocess.run([ffmpeg, *sys.argv[1:]], check=True)\n"
        "data = open(target, 'rb').read()\n"
        "open(target, 'wb').write(data.replace(b'chap', b'free'))"
    )
    report = studio.copy(tmp_path / "chapters.mkv", f"out.{ending}", how=studio.program(body))
    assert report.warnings == ()
    source.write_bytes(source.read_bytes().replace(b"chap", b"free"))
    report = studio.copy(source)
    assert report.warnings == ()
    assert [each.kind for each in report.streams] == ["video"]
    assert _chapters(report.output) == ["One", "Two"]


@pytest.mark.parametrize(
    ("made", "picture", "note"),
    [
        ("libx264 -bf 0 -f h264", b"\0\0\1\x41", b"\0\0\1\x06\x05\x40\x11\x22\x80\0\0\1\x41"),
        ("mjpeg -f mjpeg", b"\xff\xd8", b"\xff\xd8\xff\xe1\0\x10Exif\0\0nonsense"),
    ],
)
def test_notes_of_a_camera_that_are_cut_short_are_no_damage(
    made: str, picture: bytes, note: bytes, studio: Studio, tmp_path: Path
) -> None:
    make_clips(tmp_path, {"bare": f"{PICTURE} -t 0.4 -pix_fmt yuv420p -c:v {made}"})
    bare = (tmp_path / "bare").read_bytes()
    (tmp_path / "camera").write_bytes(bare.replace(picture, note))
    make_clips(tmp_path, {"film.avi": f"-f {made.split()[-1]} -r 25 -i camera -c copy"})
    for encode in (studio.encode, studio.copy):
        assert encode(tmp_path / "film.avi").warnings == ()


def test_a_film_that_was_cut_out_of_a_recording(studio: Studio, tmp_path: Path) -> None:
    """It begins in the middle of a group of pictures."""
    film = (
        "-f lavfi -i testsrc2=s=320x240:r=25:d=6 -c:v libx264 -pix_fmt yuv420p"
        " -x264-params open-gop=1:keyint=25:min-keyint=25:bframes=3:ref=4:weightp=0"
    )
    make_clips(tmp_path, {"whole.ts": film, "cut.mkv": "-ss 3.3 -i whole.ts -c copy"})
    for encode in (studio.encode, studio.copy):
        said = encode(tmp_path / "cut.mkv").warnings
        assert said[-1] == "The source is damaged at 0:00.0 (mmco: unref short failure)."
