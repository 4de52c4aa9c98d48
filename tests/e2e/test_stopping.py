"""Stops by the system, by a person, and power cuts: what ends how, and what of it runs again.

Four stories go on at a time: they mostly wait, but more of them start more processes at once than
the server can answer in time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType

from flows import again
from tests.e2e.delivery import PROJECT
from tests.e2e.prefect_processes import OURS, PREFECT, start
from tests.e2e.site import FILE, Site, ends_with_its_process
from tests.faulty_port import FaultyPort
from tests.waits import PATIENCE, wait_until
from tests.warm import warm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

AGAIN = again.TAG

WITHOUT_A_FLOW = ("waits_in_a_call", "waits_in_steps", "waits_in_a_loop")
TASK_WORKERS = {
    "served": [sys.executable, FILE, "serves"],
    "by command": [*PREFECT, "task", "serve", *(f"{FILE}:{name}" for name in WITHOUT_A_FLOW)],
}

Stories = dict[str, Future[Any]]


class Ended(NamedTuple):
    """What a story leaves: its runs by name, when it was over for them, and an exit code."""

    runs: dict[str, UUID]
    at: int
    code: int | None = None


@pytest.fixture(scope="module")
def stories(place: Site) -> Iterator[Stories]:
    told: list[Callable[[Site], Any]] = [
        the_system_stops,
        a_person_stops,
        runs_are_drained,
        the_power_is_cut,
        a_plain_worker_is_stopped,
        a_run_dies_alone,
        a_container_is_stopped,
        task_workers_are_stopped,
    ]
    with ThreadPoolExecutor(4) as threads:
        yield {story.__name__: threads.submit(story, place) for story in told}


def repetitions(place: Site, run: UUID) -> list[FlowRun]:
    """Return the runs that are a repetition of another."""
    runs = place.api.client.read_flow_runs(limit=200)
    return [each for each in runs if each.labels.get(again.OF) == str(run)]


def logged(place: Site, run: UUID) -> str:
    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    return "\n".join(log.message for log in place.api.client.read_logs(mine))


def started(place: Site, name: str) -> None:
    wait_until(lambda: f"Worker '{name}' started" in place.prefect.log(name))


def stop(worker: subprocess.Popen[bytes], number: int) -> tuple[int, int]:
    """Send a signal to a worker; return when, in ns, and its exit code."""
    at = time.time_ns()
    worker.send_signal(number)
    return at, worker.wait(PATIENCE)


def the_system_stops(place: Site) -> Ended:
    """Of three runs one is to run again; that one's repetition is stopped, too."""
    worker = place.start_our_worker("stopped")
    runs = {"again": place.run("stopped", "working", AGAIN), "not": place.run("stopped", "working")}
    for run in runs.values():
        place.in_task(run)
    at, code = stop(worker, signal.SIGTERM)
    # By that worker as it ends; by the next one if the server did not answer it.
    worker = place.start_our_worker("stopped again", pool="stopped")
    (repeated,) = wait_until(lambda: repetitions(place, runs["again"]))
    place.in_task(repeated.id)
    stop(worker, signal.SIGTERM)
    return Ended({**runs, "repeated": repeated.id}, at, code)


def test_a_stop_by_the_system_cancels_what_runs(place: Site, stories: Stories) -> None:
    runs, at, code = stories["the_system_stops"].result()
    assert code == 0
    for run in runs.values():
        flow_run = place.api.flow_run(run)
        assert flow_run.state_name == "Cancelled"
        assert flow_run.state_type == StateType.CANCELLED
        assert str(flow_run.state.message).endswith("was stopped by the system.")
        (span,) = place.wait_for_spans(run)
        assert span.attributes["task.status"] == "Cancelled"
        assert span.attributes["prefect.ended_by"] == "system"
        assert [event.name for event in span.events] == ["task.started", "task.cancelled"]
    (span,) = place.spans(runs["not"])
    assert at <= span.end_ns  # told by the run itself, which lived to see it


def test_what_it_cancelled_runs_again_once_where_the_deployment_says_so(
    place: Site, stories: Stories
) -> None:
    runs = stories["the_system_stops"].result().runs
    (repeated,) = repetitions(place, runs["again"])
    first = place.api.flow_run(runs["again"])
    assert repeated.deployment_id == first.deployment_id
    assert repeated.parameters == first.parameters
    assert first.labels[again.BY] == str(repeated.id)
    assert str(repeated.id) in logged(place, first.id)
    assert str(first.id) in logged(place, repeated.id)
    assert repetitions(place, runs["not"]) == repetitions(place, runs["repeated"]) == []


def a_person_stops(place: Site) -> Ended:
    worker = place.start_our_worker("interrupted")
    run = place.run("interrupted", "working", AGAIN)
    place.in_task(run)
    at, code = stop(worker, signal.SIGINT)
    place.deliver("interrupted")
    return Ended({"it": run}, at, code)


def test_what_a_person_stops_does_not_run_again(place: Site, stories: Stories) -> None:
    runs, _, code = stories["a_person_stops"].result()
    assert code == 0
    assert place.api.flow_run(runs["it"]).state_name == "Cancelled"
    (span,) = place.wait_for_spans(runs["it"])
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["prefect.ended_by"] == "user"
    assert repetitions(place, runs["it"]) == []


def runs_are_drained(place: Site) -> Ended:
    """One run ends in time, one would not; a second signal has no time left."""
    worker = place.start_our_worker("drained", "--drain", "600")
    runs = {name: place.run("drained", "working") for name in ("in time", "too long")}
    for run in runs.values():
        place.in_task(run)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "no new run is taken" in place.prefect.log("drained"))
    runs["after"] = place.run("drained", "working")
    place.tell(runs["in time"])
    place.api.wait_for_end(runs["in time"])
    assert worker.poll() is None
    at, code = stop(worker, signal.SIGTERM)
    place.deliver("drained")
    return Ended(runs, at, code)


def test_what_ends_within_the_drain_completes(place: Site, stories: Stories) -> None:
    runs, at, code = stories["runs_are_drained"].result()
    assert code == 0
    assert "was never retrieved" not in place.prefect.log("drained")
    for name, state in (("in time", "Completed"), ("too long", "Cancelled")):
        assert place.api.flow_run(runs[name]).state_name == state
        (span,) = place.wait_for_spans(runs[name])
        assert span.attributes["task.status"] == state
        by = {"in time": "self", "too long": "system"}[name]
        assert span.attributes["prefect.ended_by"] == by
        assert (span.end_ns < at) == (name == "in time")
    after = place.api.flow_run(runs["after"])
    assert after.state.is_scheduled()
    assert place.spans(after.id) == []


def the_power_is_cut(place: Site) -> Ended:
    """All of a machine is killed at once; a worker starts there again."""
    place.start_our_worker("dark")
    runs = {
        "working": place.run("dark", "working", AGAIN),
        "early": place.run("dark", "before_its_first_task", AGAIN, "early"),
    }
    pids = [place.pid(run) for run in runs.values()]
    place.in_task(runs["working"])
    killed = place.cut_power("dark", *pids)
    place.start_our_worker("light", pool="dark")
    started(place, "light")
    return Ended(runs, killed)


def test_after_a_power_cut_the_next_worker_settles_and_repeats(
    place: Site, stories: Stories
) -> None:
    runs, killed, _ = stories["the_power_is_cut"].result()

    def all_are_settled() -> bool:
        return all(place.api.flow_run(run).state_name == "Crashed" for run in runs.values())

    wait_until(all_are_settled)
    (span,) = place.wait_for_spans(runs["working"])
    assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert span.attributes["prefect.ended_by"] == "crash"
    assert ends_with_its_process(span, killed)
    assert place.spans(runs["early"]) == []
    for run in runs.values():
        (repeated,) = wait_until(lambda run=run: repetitions(place, run))
        place.in_task(repeated.id) if run == runs["working"] else place.pid(repeated.id)
        place.tell(repeated.id)
        assert place.api.wait_for_end(repeated.id).state_name == "Completed"


def a_plain_worker_is_stopped(place: Site) -> Ended:
    """Prefect's own: it kills its runs, and nobody is told. One of ours comes up there."""
    place.start_worker("plain")
    run = place.run("plain", "working", AGAIN)
    place.in_task(run)
    stop(place.prefect.workers["plain"], signal.SIGTERM)
    at = time.time_ns()
    place.start_our_worker("ours", pool="plain")
    return Ended({"it": run}, at)


def test_what_a_plain_worker_took_down_is_told_by_the_next_of_ours(
    place: Site, stories: Stories
) -> None:
    runs, at, _ = stories["a_plain_worker_is_stopped"].result()
    run = runs["it"]
    flow_run = place.api.wait_for_end(run)
    assert flow_run.state_name == "Crashed"
    (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Failed"
    assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert span.end_ns <= at
    (repeated,) = wait_until(lambda: repetitions(place, run))
    place.in_task(repeated.id)
    place.tell(repeated.id)


def a_run_dies_alone(place: Site) -> Ended:
    place.start_our_worker("lonely")
    run = place.run("lonely", "working", AGAIN)
    pid = place.in_task(run)
    at = time.time_ns()
    os.kill(pid, signal.SIGKILL)
    place.api.wait_for_end(run)
    time.sleep(25)  # by then it would have been repeated
    return Ended({"it": run}, at)


def test_a_run_that_died_alone_does_not_run_again(place: Site, stories: Stories) -> None:
    run = stories["a_run_dies_alone"].result().runs["it"]
    assert place.api.flow_run(run).state_name == "Crashed"
    (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Failed"
    assert repetitions(place, run) == []


def a_container_is_stopped(place: Site) -> Ended:
    """What the command of a container does, as a process."""
    place.api.make_pool("containers")
    run = place.run("containers", "working", AGAIN)
    environment = place.machine("containers", PREFECT__FLOW_RUN_ID=str(run))
    log = place.prefect.home / "container.log"
    container = start([*OURS, "execute"], environment, log, place.prefect.home)
    place.in_task(run)
    at, code = stop(container, signal.SIGTERM)
    place.deliver("containers")
    return Ended({"it": run}, at, code)


def test_a_stop_of_a_runs_container_cancels_it(place: Site, stories: Stories) -> None:
    runs, at, code = stories["a_container_is_stopped"].result()
    assert code == 0, place.prefect.log("container")
    assert place.api.flow_run(runs["it"]).state_name == "Cancelled"
    (span,) = place.wait_for_spans(runs["it"])
    assert span.attributes["task.status"] == "Cancelled"
    assert span.attributes["prefect.ended_by"] == "system"
    assert span.end_ns >= at
    # No worker is there for it: the next of ours, anywhere, has it run again.
    wait_until(lambda: repetitions(place, runs["it"]))


def task_workers_are_stopped(place: Site) -> dict[str, Ended]:
    """One after the other, as they serve the same tasks."""
    return {name: a_task_worker_is_stopped(place, name) for name in TASK_WORKERS}


def a_task_worker_is_stopped(place: Site, name: str) -> Ended:
    environment = place.machine("tasks")
    worker = start(TASK_WORKERS[name], environment, place.prefect.home / f"{name}.log", PROJECT)
    # Of one of them a flow run has them.
    leave = "working.leaves" if name == "served" else "working.leaves.fn"
    script = f"import working; print(*{leave}({name!r}))"
    done = warm().run("-c", script, env=environment, cwd=PROJECT)
    runs = dict(zip(WITHOUT_A_FLOW, map(UUID, done.stdout.split()), strict=True))
    for each in WITHOUT_A_FLOW:
        wait_until((place.folder / f"{name} {each}.running").exists, what=each)
    at, code = stop(worker, signal.SIGTERM)
    place.deliver("tasks")
    return Ended(runs, at, code)


@pytest.mark.parametrize("name", TASK_WORKERS)
def test_a_task_worker_that_is_stopped_ends_its_runs(
    place: Site, stories: Stories, name: str
) -> None:
    runs, at, code = stories["task_workers_are_stopped"].result()[name]
    assert code == -signal.SIGTERM, place.prefect.log(name)
    for each, run in runs.items():
        (span,) = place.wait_for_spans(run)
        assert span.attributes["task.status"] == "Cancelled"
        assert span.attributes["media.name"] == f"{name} {each}"  # told by the run itself
        assert span.attributes["prefect.ended_by"] == "system"
        assert [event.name for event in span.events] == ["task.started", "task.cancelled"]
        assert span.end_ns >= at
        wait_until(lambda run=run: place.api.client.read_task_run(run).state.is_crashed())
        unwound = (place.folder / f"{name} {each}.unwound").exists()
        assert unwound == (each != "waits_in_a_call")


def test_a_worker_that_is_there_before_its_server_waits_for_it(place: Site) -> None:
    door = FaultyPort(place.prefect.port, 0)
    try:
        door.set_mode("refuse")
        place.api.make_pool("early")
        address = {"PREFECT_API_URL": f"http://127.0.0.1:{door.port}/api"}
        environment = place.machine("early", **address)
        place.prefect.start_our_worker("early", "early", environment=environment)
        asked = lambda: place.prefect.log("early").count("does not answer")  # noqa: E731
        wait_until(lambda: asked() > 1, what="the word that it asks again")
        door.set_mode("pass")
        started(place, "early")
    finally:
        door.stop()
