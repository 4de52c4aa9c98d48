"""Flows that work until a test has done what it wants to do to them; see `until` for their end."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from opentelemetry import trace
from prefect.states import Completed
from prefect.task_runners import ProcessPoolTaskRunner

if os.environ.get("PLAIN"):  # to see what Prefect does without us
    from prefect import flow, task
else:
    from haas_otel import flow, task

LONGEST = 3600  # seconds; a test that fails leaves no process for ever


def run_id():
    import prefect.runtime

    return prefect.runtime.flow_run.id


def mark_of(what):
    return Path(os.environ["MARKS"]) / f"{run_id()}.{what}"


def reached(what):
    """Leave a mark with the id of this process, whole from the start."""
    path = mark_of(what)
    draft = path.with_name(f".{path.name}")
    draft.write_text(str(os.getpid()))
    draft.rename(path)


def until(mark):
    """Work until the test leaves this mark."""
    path, deadline = mark_of(mark), time.monotonic() + LONGEST
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@task(name="Work")
def works(name="end"):
    reached("running")
    until(name)


@flow
def working():
    works()


@task(name="Work again")
def works_again():
    reached("running again")
    until("end again")


@flow
def working_twice():
    works()
    works_again()


@flow
def before_its_first_task():
    reached("running")
    until("end")
    works()


@task(name="Fork")
def forks(how):
    child = os.fork()
    if child == 0:
        if how == "exits":
            sys.exit(3)
        if how == "raises":
            raise LookupError("in the child")
        os._exit(4)
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:  # what it inherited of Prefect may wait for ever
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    reached("joined")


@flow
def forking(how):
    reached("running")
    forks(how)


@task(name="Work in a pool")
def pooled():
    reached("running")
    until("end")


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def pooling():
    state = pooled.submit()
    try:
        state.result()
    except Exception as error:  # noqa: BLE001 - which it is, is Prefect's choice
        print(f"caught {error!r}")
    reached("caught")
    until("end")
    return Completed(message="All is well.")


@task(name="Do a little")
def little(number):
    return number


@flow
def many(count):
    for number in range(count):
        little(number)
    works()


def _attends(name):
    trace.get_current_span().set_attribute("media.name", name)
    (Path(os.environ["MARKS"]) / name).with_suffix(".running").touch()


def _unwinds(name):
    (Path(os.environ["MARKS"]) / name).with_suffix(".unwound").touch()


@task(name="Wait in a call")
def waits_in_a_call(name):
    _attends(name)
    time.sleep(LONGEST)


@task(name="Wait in steps")
def waits_in_steps(name):
    try:
        _attends(name)
        while True:
            time.sleep(0.05)
    finally:
        _unwinds(name)


@task(name="Wait in a loop")
async def waits_in_a_loop(name):
    try:
        _attends(name)
        await asyncio.sleep(LONGEST)
    finally:
        _unwinds(name)


@flow
def leaves(name):
    """Leave them to a task worker: they have this flow run, and not its process."""
    waiting = (waits_in_a_call, waits_in_steps, waits_in_a_loop)
    return [each.delay(f"{name} {each.fn.__name__}").task_run_id for each in waiting]


def serves():
    from prefect.task_worker import serve

    serve(waits_in_a_call, waits_in_steps, waits_in_a_loop)


def with_a_provider_of_its_own():
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if os.environ.get("OWN_PROVIDER"):
        with_a_provider_of_its_own()
    globals()[name](*map(int, arguments))
