"""Flows that end in every way a task run can end. Run by a real worker, from this folder."""

import os
import signal
import sys
import time
from pathlib import Path

from opentelemetry import trace
from prefect.deployments import run_deployment

if os.environ.get("PLAIN"):  # and instrumented from outside
    from prefect import flow
    from prefect import task as plain_task

    def task(on_cancellation=(), **options):
        return plain_task(**options)
else:
    from haas_otel import flow, task

LONG = 900  # seconds that nobody waits for: who sleeps so is to be interrupted


def _learn(**attributes):
    trace.get_current_span().set_attributes({f"media.{k}": v for k, v in attributes.items()})
    with trace.get_tracer("project").start_as_current_span("in the body"):
        pass


def _hook_called(task, task_run, state):
    with (Path(os.environ["MARKS"]) / f"{task_run.id}.cancellation").open("a") as marks:
        marks.write(f"{type(task).__name__} {task_run.name} {state.name} {os.getpid()}\n")


def _reached(name):
    import prefect.runtime

    (Path(os.environ["MARKS"]) / f"{prefect.runtime.flow_run.id}.{name}").write_text(
        str(os.getpid())
    )


@task(name="Return a number")
def returns():
    _learn(number=7, file="a.mkv")
    return 7


@flow
def returned():
    return returns()


@task(name="Raise an error")
def raises():
    _learn(number=8)
    raise LookupError("no such film: 8")


@flow
def raised():
    raises()


@task(name="Take too long", timeout_seconds=1)
def times_out():
    _learn(number=9)
    time.sleep(30)


@flow
def timed_out():
    times_out()


attempts = 0


@task(name="Try three times", retries=2, retry_delay_seconds=0.2)
def succeeds_at_last():
    global attempts
    attempts += 1
    _learn(attempt=attempts)
    if attempts < 3:
        raise ConnectionError(f"attempt {attempts} failed")


@flow
def retried():
    succeeds_at_last()


@task(name="Obey a termination", on_cancellation=[_hook_called])
def obeys():
    _learn(progress=42.5)
    _reached("running")
    time.sleep(LONG)


@flow
def obeyed():
    obeys()


@task(name="Ignore a termination", on_cancellation=[_hook_called])
def ignores():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
    _learn(progress=10.0)
    _reached("running")
    while not heard:
        time.sleep(0.1)
    _reached("went-on")
    time.sleep(LONG)


@flow
def ignored():
    ignores()


@task(name="Hang at first")
def hangs_at_first():
    import prefect.runtime

    attempt = prefect.runtime.flow_run.run_count
    _learn(attempt=attempt)
    if attempt == 1:
        _reached("running")
        time.sleep(LONG)


@flow
def retried_flow():
    hangs_at_first()


@task(name="Fail at first")
def fails_at_first():
    import prefect.runtime

    if prefect.runtime.flow_run.run_count == 1:
        raise LookupError("not yet")


@flow(retries=1)
def returns_its_failure():
    _reached("begun")
    return fails_at_first(return_state=True)


@task(name="Start a child")
def start_a_child():
    keep = ("MARKS", "HAAS_OTEL_DIR", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL")
    run_deployment(
        "returned/test", job_variables={"env": {key: os.environ[key] for key in keep}}, timeout=90
    )


@flow
def starts_a_child():
    start_a_child()


@task(name="Return in a task worker")
def delayed(number):
    _learn(number=number)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


if __name__ == "__main__":
    if sys.argv[1] == "serve":  # a runner of its own, without worker or work pool
        obeyed.serve(name="served", limit=4, print_starting_message=False)
    elif sys.argv[1] == "task-worker":
        from prefect.task_worker import serve

        serve(delayed)
    else:  # in a terminal
        globals()[sys.argv[1]]()
