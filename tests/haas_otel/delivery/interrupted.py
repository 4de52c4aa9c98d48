"""End spans while a signal handler raises at random moments, as Prefect's does for SIGTERM.

    interrupted.py DIRECTORY SEED

Prints as JSON: the names of spans whose end returned, how often it was interrupted, and whether all
was on disk at the end. A process of its own, for tools that measure a test hold locks of their own.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from haas_otel.delivery.limits import Limits
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal

SPANS = 1000
ENOUGH = 100


class Interrupted(BaseException):
    """What Prefect raises for SIGTERM is a BaseException too."""


def interrupt(*_: object) -> None:
    raise Interrupted


def main() -> None:
    seeded = random.Random(int(sys.argv[2]))
    limits = Limits(delay=timedelta(milliseconds=1))
    processor = DurableSpanProcessor(Journal(Path(sys.argv[1])), (), limits)
    scope = InstrumentationScope("Haas.Media.BackgroundTasks")
    signal.signal(signal.SIGALRM, interrupt)
    returned, interrupted = [], 0
    number = 0
    # On a busy machine nearly all may be interrupted.
    while number < SPANS or (min(len(returned), interrupted) <= ENOUGH and number < 20 * SPANS):
        number += 1
        try:
            name = f"span {number}"
            context = SpanContext(1, number, False, TraceFlags(1))
            span = ReadableSpan(
                name,
                context,
                start_time=1,
                end_time=2,
                instrumentation_scope=scope,
                attributes={"task.id": name},
            )
            signal.setitimer(signal.ITIMER_REAL, 10 ** seeded.uniform(-6, -2))
            processor.on_end(span)
            returned.append(name)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            interrupted += 1
    on_disk = processor.force_flush(20_000)
    processor.shutdown(timedelta(seconds=20))
    print(json.dumps([returned, interrupted, on_disk]))


if __name__ == "__main__":
    main()
