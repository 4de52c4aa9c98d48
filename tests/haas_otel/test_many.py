"""Thousands of task spans in one process: none is lost, and nothing of them stays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.haas_otel.programs import Programs
from tests.receiver import Receiver

if TYPE_CHECKING:
    from tests.warm import Warm

COUNT = 10_000 if os.environ.get("HAAS_CHAOS") == "1" else 3_000


def test_thousands_of_spans_in_one_process(warm: Warm, tmp_path: Path) -> None:
    many = Programs(warm, Path(__file__).with_name("many.py"), tmp_path, HAAS_OTEL_DIR="spans")
    with Receiver().start("grpc") as receiver:
        told = many.run(str(COUNT), **receiver.environment)
        receiver.wait_for(lambda spans: len(spans) >= COUNT)
        numbers = sorted(s.attributes["media.number"] for s in receiver.spans)
        failed = [s for s in receiver.spans if s.attributes["task.status"] == "Failed"]
    assert numbers == list(range(COUNT))
    assert len({s.span_id for s in receiver.spans}) == COUNT
    assert len(failed) == COUNT // 10
    left = json.loads(told.stdout.splitlines()[-1])
    assert (left["live"], left["held"]) == (0, 0)
    # A span is over 3 kB while it is active; the id of a run alone would be 150 bytes for each.
    assert left["grown"] < 100_000, left
