"""How much damage to a source nobody notices.

    python -m benchmarks.damage [--seeds 5]

Films in ten containers are cut, or have blocks zeroed, swapped or overwritten, at random places,
each from a seed of its own. Each is encoded and copied. What is neither refused nor warned of is
counted, and of that what shows another picture than the whole film; there must be none of which a
bare ffmpeg reports an error, or in which it finds a stream that ends sooner.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from haas_media.encoding import EncodeRequest, EncodingError, encode
from tests.haas_media.encoding.conftest import make_clips
from tests.haas_media.encoding.damaged import KINDS, WHOLE, damage, decoded


def noticed(source: Path, codec: str) -> str:
    """Encode a damaged film; tell what came of it."""
    output = source.with_name("out.mkv")
    request = EncodeRequest.model_validate(
        {"source": str(source), "output": str(output), "video_codec": codec}
    )
    try:
        return "warned of" if encode(request, roots=[source.parent]).warnings else "not noticed"
    except EncodingError:
        return "refused"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each kind in each container")
    given = parser.parse_args()
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clips(folder, WHOLE)
        for film in WHOLE:
            whole, data = decoded(folder / film), (folder / film).read_bytes()
            for kind in KINDS:
                for seed in range(given.seeds):
                    source = folder / f"damaged-{film}"
                    source.write_bytes(damage(data, kind, random.Random(f"{film} {kind} {seed}")))
                    found = decoded(source)
                    for codec in ("h264", "copy"):
                        what = noticed(source, codec)
                        if what == "not noticed":
                            changed = found.pictures != whole.pictures
                            what += f", {'another picture' if changed else 'the same pictures'}"
                            if found.errors or found.is_shorter(whole):
                                what += ", THOUGH IT COULD BE"
                        counted[what] += 1
                        counted["all"] += 1
    for what, times in sorted(counted.items()):
        print(f"{what:<52}{times:>6}")
    sys.exit(any("THOUGH" in what for what in counted))


if __name__ == "__main__":
    main()
