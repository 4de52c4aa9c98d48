"""A process that makes spans, for tests to start, to look at and to kill.

    program.py make COUNT [NAME]      make COUNT spans and exit
    program.py make-and-flush COUNT [NAME]    make COUNT spans, wait until they are out, exit
    program.py make-and-die COUNT     make COUNT spans, then SIGKILL itself
    program.py make-and-wait COUNT    make COUNT spans, say so, wait for a line on standard input
    program.py deliver SECONDS        make none, send what others left
    program.py fork COUNT             make COUNT spans, fork, make COUNT more in the child; all out

Span number i is called ``NAME i`` and is a task span with one child, ``child of NAME i``.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta


def make(count: int, name: str) -> None:
    from opentelemetry import trace

    from haas_otel import delivery

    delivery.configure()
    tracer = trace.get_tracer("Haas.Media.BackgroundTasks", "0.1.0")
    children = trace.get_tracer("body")
    for number in range(count):
        with tracer.start_as_current_span(f"{name} {number}") as span:
            span.set_attribute("task.id", f"{os.getpid()}-{number}")
            span.set_attribute("task.type", "ExampleTask")
            span.set_attribute("task.status", "Completed")
            with children.start_as_current_span(f"child of {name} {number}"):
                pass


def main() -> None:
    command, argument, *rest = sys.argv[1:]
    name = rest[0] if rest else "span"
    if command == "deliver":
        from haas_otel import delivery

        print(delivery.deliver_pending(timedelta(seconds=float(argument))))
        return
    make(int(argument), name)
    if command == "make-and-die":
        os.kill(os.getpid(), signal.SIGKILL)
    if command == "make-and-wait":
        print("made", flush=True)
        sys.stdin.readline()
    child = None
    if command == "fork":
        child = os.fork()
        if child == 0:
            make(int(argument), "forked")
    if command in ("make-and-flush", "fork"):
        from opentelemetry import trace

        trace.get_tracer_provider().force_flush(60_000)  # type: ignore[attr-defined]
    if child == 0:
        os._exit(0)
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
