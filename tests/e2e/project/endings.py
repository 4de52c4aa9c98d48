"""Flows that end in every way a task run can end. Run by a real worker, from this folder."""

import os
import signal
import sys
import time
from pathlib import Path

from opentelemetry import trace
from prefect.cache_policies import INPUTS
from prefect.deployments import run_deployment
from prefect.states import Failed

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


def _reached(name, run=None):
    import prefect.runtime

    run = run or prefect.runtime.flow_run.id
    draft = Path(os.environ["MARKS"]) / f".{run}.{name}"
    draft.write_text(str(os.getpid()))
    draft.rename(draft.with_name(f"{run}.{name}"))  # whole from the start


@task(name="Return a number")
def returns():
    _learn(number=7, file="a.mkv")
    return 7


@flow
def returned():
    return returns()


@flow
def takes_a_number(number: int):
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


@task(name="Remember", cache_policy=INPUTS, persist_result=True)
def remembers(what):
    return what


@task(name="Return a failure")
def returns_a_failure():
    return Failed(message="no luck")


@task(name="Try twice", retries=1, retry_delay_seconds=0.2)
def never_succeeds():
    raise ConnectionError("no answer")


@task(name="Never begin")
def never_begins(what):
    return what


@flow
def end_by_themselves():
    """Task runs whose endings need nobody else, one after the other."""
    returns()
    for _ in range(2):
        remembers(os.getpid())
    raises(return_state=True)
    returns_a_failure(return_state=True)
    times_out(return_state=True)
    succeeds_at_last()
    never_succeeds(return_state=True)
    never_begins.submit(raises.submit()).wait()
    return "done"


@task(name="Obey a termination", on_cancellation=[_hook_called])
def obeys():
    """Wait to be ended; in a flow run that is retried, return."""
    import prefect.runtime

    _learn(progress=42.5)
    if prefect.runtime.flow_run.run_count == 1:
        _reached("running")
        time.sleep(LONG)


@flow
def obeyed():
    obeys()


@flow
def nests():
    obeyed()


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


@task(name="Fail at first")
def fails_at_first():
    import prefect.runtime

    if prefect.runtime.flow_run.run_count == 1:
        raise LookupError("not yet")


@flow(retries=1, retry_delay_seconds=1)
def returned_after_a_retry():
    return fails_at_first()


@flow(retries=1)
def returns_its_failure():
    return fails_at_first(return_state=True)


@task(name="Start a child")
def start_a_child():
    run_deployment(f"returned/{os.environ['WAY']}", timeout=90)


@flow
def starts_a_child():
    start_a_child()
    # Which waits in a queue.
    run_deployment(f"returned/{os.environ['WAY']}", timeout=0, as_subflow=False)


@task(name="Return in a task worker")
def delayed(number):
    import prefect.runtime

    _learn(number=number)
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number == 0:
        _reached("running", prefect.runtime.task_run.id)
        time.sleep(LONG)
    return number


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "serve":  # a runner of its own, without worker or work pool
        obeyed.serve(name=f"served-{os.environ['WAY']}", limit=4, print_starting_message=False)
    elif what == "task-worker":  # that gives itself something to do
        from prefect.task_worker import serve

        for number in map(int, arguments):
            mark = Path(os.environ["MARKS"]) / f"{os.getpid()}.{number}"
            mark.write_text(str(delayed.delay(number).task_run_id))
        serve(delayed)
    else:  # in a terminal
        globals()[what]()
