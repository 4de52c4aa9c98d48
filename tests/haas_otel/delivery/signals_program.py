"""A flow run in a process of its own, for tests of all three signals; names what is to happen.

signals_program.py run [COUNT]     a flow with COUNT task runs, each of which writes log lines
signals_program.py fail            a task that logs an exception and raises
signals_program.py called          the same within a span of the application's
signals_program.py stumble         a flow that raises before its task
signals_program.py talk            a flow that writes a log line and runs no task
signals_program.py wait            a task that goes on until a line comes on standard input
signals_program.py leave           the same in a thread that does not hold the process up
signals_program.py ignore          the same, whose body goes on when it is interrupted

With HOLD set it then makes one round of delivery, says so, and waits for a line before it exits.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prefect import get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from haas_otel import delivery, flow, settings, task

settings.loggers = ("haas_media.scan", "haas_media", "haas_otel.delivery")  # some within others


@task(name="Metadata library scan")
def metadata_scan(number: int) -> int:
    get_run_logger().info("file %d of the body", number)
    logging.getLogger("haas_media.scan").warning("the library's own line %d", number)
    logging.getLogger("somebody.else").warning("not ours")
    return number


@task(name="Encode media file", task_type="EncodingTask")
def encode() -> None:
    try:
        raise LookupError("no such film")
    except LookupError:
        get_run_logger().exception("it went wrong")
        raise


@task(name="Person metadata cleanup")
def person_cleanup() -> None:
    print("running", flush=True)
    # A signal right before a read does not wake it.
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        pass


@task(name="Person metadata cleanup")
def ignore() -> None:
    print("running", flush=True)
    while True:
        with suppress(TerminationSignal):
            time.sleep(0.1)


@flow
def run(count: int) -> None:
    for number in range(count):
        metadata_scan(number)


@flow
def fail() -> None:
    encode(return_state=True)


def called() -> None:
    delivery.configure()
    with trace.get_tracer("application").start_as_current_span("caller"):
        fail()


@flow
def stumble() -> None:
    raise LookupError("no task was reached")


@flow
def talk() -> None:
    get_run_logger().info("before any task")


@flow
def wait() -> None:
    person_cleanup()


def leave() -> None:
    threading.Thread(target=person_cleanup, daemon=True).start()
    never = threading.Event()
    while not never.wait(0.1):  # a signal right before a wait does not wake it
        pass


def main() -> None:
    command, *rest = sys.argv[1:]
    # The end of a flow run waits up to a second for the thread that sends heartbeats.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        if command == "run":
            run(int(rest[0]) if rest else 1)
        else:
            with suppress(LookupError):
                globals()[command]()
    if "HOLD" in os.environ:
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):  # else all is off
            provider.force_flush(60_000)
        print("held", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
