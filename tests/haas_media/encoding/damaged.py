"""Damage to a file, at random places from a fixed seed, and what a bare decoder makes of it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.haas_media.encoding.conftest import FFMPEG, X264

if TYPE_CHECKING:
    import random
    from pathlib import Path

SECONDS = 4
SHORTER_SECONDS = 0.2
_MADE_OF = f"-f lavfi -i testsrc2=s=160x120:r=25:d={SECONDS} -f lavfi -i sine=d={SECONDS}"
_FILM = f"{_MADE_OF} {X264} -bf 2 -g 25 -c:a"
WHOLE = {
    "film.mkv": f"{_FILM} aac",
    "film.mp4": f"{_FILM} aac",
    "film.mov": f"{_FILM} pcm_s16le",
    "film.ts": f"{_FILM} mp2",
    "film.flv": f"{_FILM} aac",
    "film.avi": f"{_MADE_OF} -c:v mpeg4 -c:a libmp3lame",
    "film.vob": f"{_MADE_OF} -c:v mpeg2video -c:a ac3",
    "film.wmv": f"{_MADE_OF} -c:v wmv2 -c:a wmav2",
    "film.webm": f"{_MADE_OF} -c:v libvpx -deadline realtime -c:a libvorbis",
    "film.ogv": f"{_MADE_OF} -c:v libtheora -c:a libvorbis",
}
KINDS = ("cut", "zeroed", "swapped", "overwritten")


def damage(whole: bytes, kind: str, chance: random.Random) -> bytes:
    """Damage a file in the way that ``kind`` says: what follows a place, or a block or two."""
    size = chance.randrange(500, max(501, len(whole) // 10))
    at, other = sorted(chance.sample(range(len(whole) // size), 2))
    one, two = (slice(place * size, place * size + size) for place in (at, other))
    data = bytearray(whole)
    match kind:
        case "cut":
            del data[chance.randrange(len(whole) // 4, len(whole)) :]
        case "zeroed":
            data[one] = bytes(size)
        case "swapped":
            data[one], data[two] = data[two], data[one]
        case "overwritten":
            data[one] = chance.randbytes(size)
    return bytes(data)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a bare ffmpeg decodes: pictures' checksums, when each stream ends, and its errors."""

    pictures: tuple[str, ...]
    ends: tuple[float, float]
    errors: tuple[str, ...]

    def is_shorter(self, whole: Decoded) -> bool:
        """Tell whether a stream ends before it did when the file was whole."""
        return any(
            now < then - SHORTER_SECONDS for now, then in zip(self.ends, whole.ends, strict=True)
        )


def decoded(path: Path) -> Decoded:
    """Decode all there is of a file."""
    command = [FFMPEG, "-v", "error", "-nostdin", "-i", path, "-map", "0:v?", "-map", "0:a?"]
    times = ["-ar", "8000", "-fps_mode", "passthrough", "-enc_time_base:v", "1/1000"]
    ran = subprocess.run(
        [*command, *times, "-f", "framemd5", "-"],
        capture_output=True,
        check=False,
    )
    rows = [
        [cell.strip() for cell in line.split(",")]
        for line in ran.stdout.decode().splitlines()
        if line[:1].isdigit()
    ]
    pictures = [row for row in rows if row[0] == "0"]
    sounds = [row for row in rows if row[0] == "1"]
    return Decoded(
        tuple(row[5] for row in pictures),
        (
            max((int(row[2]) / 1000 for row in pictures), default=0.0),
            max((int(row[2]) / 8000 for row in sounds), default=0.0),
        ),
        tuple(ran.stderr.decode(errors="replace").splitlines()),
    )
