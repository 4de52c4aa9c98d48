"""Ten thousand task spans in one process: none is lost, and nothing of them stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.receiver import Receiver

COUNT = 10_000
ROOT = Path(__file__).parents[2]


def test_ten_thousand_spans_in_one_process(tmp_path: Path) -> None:
    with Receiver().start("grpc") as receiver:
        environment = {**os.environ, **receiver.environment, "HAAS_OTEL_DIR": str(tmp_path)}
        told = subprocess.run(
            [sys.executable, "-m", "tests.haas_otel.many", str(COUNT)],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=240,
        )
        receiver.wait_for(lambda spans: len(spans) >= COUNT, timeout=60)
        numbers = sorted(s.attributes["media.number"] for s in receiver.spans)
        failed = [s for s in receiver.spans if s.attributes["task.status"] == "Failed"]
    assert numbers == list(range(COUNT))
    assert len({s.span_id for s in receiver.spans}) == COUNT
    assert len(failed) == COUNT // 10
    left = json.loads(told.stdout.splitlines()[-1])
    assert (left["live"], left["held"]) == (0, 0)
    # A span is over 3 kB while it is active. Twenty bytes are a fraction of the smallest object.
    assert left["grown"] < COUNT // 2 * 20, left
