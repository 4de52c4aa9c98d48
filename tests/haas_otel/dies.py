"""A process that has flow runs go on when it is killed: nobody ends their spans.

    python dies.py FLOW COUNT

It prints the ids of its flow runs, and waits to be killed once every one of them has said so.
"""

import sys
import threading

from opentelemetry import trace
from prefect.runtime import flow_run, task_run

from haas_otel import flow, task

in_the_middle = threading.Event()


@task(name="Finished before")
def finished():
    trace.get_current_span().set_attribute("media.files", 1)


@task(
    name="Killed in the third attempt",
    retries=2,
    on_cancellation=[lambda task, task_run, state: None],
)
def killed():
    attempt = task_run.run_count
    if attempt < 3:
        trace.get_current_span().set_attribute("media.attempt", attempt)
        raise ConnectionError(f"attempt {attempt}")
    in_the_middle.set()
    threading.Event().wait()


@task(name="Killed while it waits", retries=2, retry_delay_seconds=[3600])
def waits():
    trace.get_current_span().set_attribute("media.attempt", 1)
    in_the_middle.set()
    raise ConnectionError("refused")


def say(flow_run_id):
    sys.stdout.write(f"{flow_run_id}\n")  # in one piece, unlike print
    sys.stdout.flush()


@flow
def nested():
    killed()


@flow
def top():
    say(flow_run.id)
    finished()
    nested()


@flow
def alone():
    say(flow_run.id)
    killed()


@flow
def waiting():
    say(flow_run.id)
    waits()


@flow
def ends_well():
    finished()


if __name__ == "__main__":
    chosen, count = globals()[sys.argv[1]], int(sys.argv[2])
    for _ in range(count):
        threading.Thread(target=chosen, daemon=True).start()
        in_the_middle.wait()  # one by one: side by side they wait for the server's database
        in_the_middle.clear()
    sys.stdin.read()
