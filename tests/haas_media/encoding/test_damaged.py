"""Damage at random places: refused, or warned of with its place, wherever it can be noticed."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest

from haas_media.encoding import EncodingError
from tests.chaos import CHAOS
from tests.haas_media.encoding.conftest import Studio, make_clips
from tests.haas_media.encoding.damaged import KINDS, WHOLE, Decoded, damage, decoded

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = range(5 if CHAOS else 1)
PLACE = re.compile(r"(at|from|after|holds|through) \d")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_clips(folder, WHOLE)
    return folder


@pytest.fixture(scope="module")
def bare(whole: Path) -> dict[str, Decoded]:
    return {name: decoded(whole / name) for name in WHOLE}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WHOLE)
def test_damage_is_not_overlooked(
    name: str,
    kind: str,
    seed: int,
    whole: Path,
    bare: dict[str, Decoded],
    studio: Studio,
    tmp_path: Path,
) -> None:
    chance = random.Random(f"{name} {kind} {seed}")
    source = tmp_path / name
    source.write_bytes(damage((whole / name).read_bytes(), kind, chance))
    codec = chance.choice(["h264", "copy"])
    try:
        warnings = studio.encode(source, video_codec=codec).warnings
    except EncodingError:
        assert list(studio.folder.iterdir()) == []
        return
    assert all(PLACE.search(each) for each in warnings), warnings
    found = decoded(source)
    assert warnings or not (found.errors or found.is_shorter(bare[name]))


def test_a_few_pictures_too_few(whole: Path, studio: Studio, tmp_path: Path) -> None:
    """Less than would be refused: seven of a hundred, whole chunks, of which the header tells."""
    film = (whole / "film.avi").read_bytes()
    begins = [match.start() for match in re.finditer(b"00dc", film[: film.rindex(b"idx1")])]
    (tmp_path / "film.avi").write_bytes(film[: begins[-7]])
    (said,) = studio.encode(tmp_path / "film.avi").warnings
    assert re.match(
        r"The output's video 0 ends at 0:03\.\d, 0\.[23] s before the source says", said
    )


def test_what_will_be_refused_is_not_encoded_to_its_end(studio: Studio) -> None:
    body = (
        "if '-debug_ts' in sys.argv:\n"
        "    os.execv(ffmpeg, sys.argv)\n"
        # The first, as ffmpeg 5 says of a camera's notes, is no damage.
        "print('[mjpeg @ 0x1] [error] unable to decode APP fields: Alas', file=sys.stderr)\n"
        "print('[h264 @ 0x1] [error] Alas', file=sys.stderr, flush=True)\n"
        "time.sleep(3600)"
    )
    studio.refuses(
        r"The source is damaged somewhere \(Alas\)", "film.mp4", how=studio.program(body)
    )


# As ffmpeg 4 does, which knows other words, and logs others.
_OLD = (
    "if {'-fps_mode', '-debug_ts'} & set(sys.argv):\n"
    "    sys.exit(\"Unrecognized option 'fps_mode'.\")\n"
    "os.execv(ffmpeg, sys.argv)"
)


def test_an_older_ffmpeg_that_is_set(whole: Path, studio: Studio, tmp_path: Path) -> None:
    how = studio.program(_OLD)
    assert studio.encode("film.mp4", quality=88, how=how).quality is not None
    name = next(name for name in WHOLE if name.endswith(".ts"))
    content = bytearray((whole / name).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"x" * 3000
    (tmp_path / name).write_bytes(content)
    studio.refuses("The source is damaged (at|from) 0:0[1-9]", tmp_path / name, how=how)
