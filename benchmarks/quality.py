"""How near an encoding comes to the quality that was asked for, and what the search costs.

    python -m benchmarks.quality [--minutes 10]

Twelve generated clips of different kinds, of 320x180 pixels, are encoded for a VMAF, which is then
measured on all of each output. A thirteenth, made of them, lasts at least ten minutes: there the
search is held against the encode without one, in the same run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haas_media.encoding import EncodeRequest, encode
from haas_media.encoding.ffmpeg import companion

if TYPE_CHECKING:
    from haas_media.encoding import EncodeReport

FFMPEG = str(companion())  # the one that is set may lack libvmaf
SIZE, CLIP_SECONDS = "s=320x180:r=25", 24
TARGET_DISTANCE, TARGET_SHARE = 1.0, 0.15
_NOISE = "noise=alls=12:allf=t"
CLIPS = {
    "test card": f"testsrc2={SIZE}",
    "test card, grainy": f"testsrc2={SIZE},{_NOISE}",
    "zoom into a fractal": f"mandelbrot={SIZE}",
    "fractal, blurred": f"mandelbrot={SIZE},gblur=2",
    "slow gradients": f"gradients={SIZE}:speed=0.01:seed=1",
    "fast gradients, grainy": f"gradients={SIZE}:speed=0.2:seed=2:n=8,{_NOISE}",
    "game of life": "life=s=160x90:r=25:mold=10:seed=1:death_color=#203040:life_color=#f0e0c0,"
    "scale=320:180:flags=bilinear",
    "growing triangles": f"sierpinski={SIZE}:seed=1,gblur=1",
    "colours that turn": f"testsrc2={SIZE},hue=h=20*t,gblur=1",
    "moving stripes": "nullsrc=s=320x180:r=25,geq=lum='128+100*sin((X+2*Y)/9+N/5)':cb=128:cr=128",
    "scrolling, dark": f"testsrc={SIZE},scroll=h=0.01,eq=brightness=-0.2,{_NOISE}",
    "turning test card": f"testsrc2={SIZE},rotate=t/4",
}
# A VMAF for each, and two codecs in turn.
TARGETS: tuple[Any, ...] = ("visually lossless", "good", "small", 90)
CODECS = ("h264", "hevc")
_SCORE = re.compile(r"VMAF score: ([\d.]+)")


def bare(*arguments: object) -> str:
    """Run ffmpeg; give its log."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stderr.decode()


def vmaf(output: Path, source: Path) -> float:
    """Measure all of an output."""
    pairs = "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]libvmaf=n_threads=2"
    log = bare("-i", output, "-i", source, "-filter_complex", pairs, "-f", "null", "-")
    return float(_SCORE.findall(log)[-1])


def encoded(source: Path, **values: Any) -> EncodeReport:
    """Encode beside the source."""
    request = EncodeRequest(source=str(source), output=str(source.with_suffix(".mp4")), **values)
    return encode(request, roots=[source.parent], on_progress=lambda _: None)


def measure_clips(folder: Path) -> int:
    """Encode the clips; give how many are too far from what was asked for."""
    too_far = 0
    print(f"{'clip':<26}{'codec':>6}{'asked':>8}{'VMAF':>8}{'CRF':>7}{'trials':>8}")
    for number, (name, source) in enumerate(CLIPS.items()):
        path = folder / f"{number}.mkv"
        bare("-f", "lavfi", "-i", source, "-t", CLIP_SECONDS, "-pix_fmt", "yuv420p", "-qp", 4, path)
        codec, target = CODECS[number % 2], TARGETS[number % len(TARGETS)]
        report = encoded(path, video_codec=codec, quality=target)
        found = report.quality
        assert found is not None
        reached = vmaf(report.output, path)
        far = abs(reached - found.target) > TARGET_DISTANCE
        too_far += far
        print(
            f"{name:<26}{codec:>6}{found.target:>8g}{reached:>8.2f}{found.crf:>7g}"
            f"{found.trials:>8}   {'ABOVE' if far else 'within'} {TARGET_DISTANCE:g}",
            flush=True,
        )
    return too_far


def measure_search(folder: Path, minutes: float) -> None:
    """Encode a long film for a quality, and with the crf that was found."""
    listed = "".join(f"file {number}.mkv\n" for number in range(len(CLIPS)))
    (folder / "list").write_text(listed)
    film = folder / "film.mkv"
    loops = int(minutes * 60 // (CLIP_SECONDS * len(CLIPS))) + 1
    bare("-f", "concat", "-stream_loop", loops, "-i", folder / "list", "-c", "copy", film)
    report = encoded(film, quality="good")
    assert report.quality is not None
    begun = time.monotonic()
    bare(*report.argv[report.argv.index("-progress") + 3 : -1], film.with_suffix(".bare.mp4"))
    taken = time.monotonic() - begun
    share = report.quality.elapsed / taken
    print(
        f"search on {report.duration}: {report.quality.elapsed:.1f} s, bare encode {taken:.1f} s, "
        f"share {share:.3f}   {'within' if share <= TARGET_SHARE else 'ABOVE'} {TARGET_SHARE}"
    )
    print(f"  {report.quality}; VMAF of all of it: {vmaf(report.output, film):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="length of the long film")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        too_far = measure_clips(Path(name))
        print(f"{len(CLIPS) - too_far} of {len(CLIPS)} within {TARGET_DISTANCE:g}")
        measure_search(Path(name), given.minutes)


if __name__ == "__main__":
    main()
