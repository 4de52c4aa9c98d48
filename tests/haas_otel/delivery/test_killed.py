"""The process that sends is killed at any instant: none is lost, and what comes twice is known."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos import CHAOS
from tests.haas_otel.waits import waiting
from tests.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.haas_otel.programs import Programs

INSTANTS = 50 if CHAOS else 5
SPANS = 200  # and a child of each
REQUEST = 20  # spans in each
pytestmark = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])


def test_the_sender_is_killed_while_it_sends(
    protocol: Any, processes: Programs, directory: Path
) -> None:
    """A request may be taken twice whose answer was not noted yet: one for each kill at most."""
    seeded = random.Random(protocol)
    with Receiver().start(protocol) as receiver:
        receiver.rule = lambda *_: time.sleep(seeded.uniform(0, 0.01))
        variables = {
            **receiver.environment,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(REQUEST),
        }
        twice = []
        for instant in range(INSTANTS):
            before = len(receiver.duplicates)
            name = f"run {instant}"
            process = processes.start("make-and-wait", str(SPANS), name, **variables)
            process.stdout.readline()
            time.sleep(seeded.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            processes.run("deliver", "60", **variables)

            names = {span.name for span in receiver.spans if name in span.name}
            assert len(names) == 2 * SPANS, "none is lost"
            twice.append(len(receiver.duplicates) - before)

        assert waiting(directory) == 0
        # The one window that the page names, and no more than what one request holds.
        assert max(twice) <= REQUEST
        print(f"{protocol}: of {INSTANTS} kills {sum(map(bool, twice))} had one request sent twice")
