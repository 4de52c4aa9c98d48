"""What processes leave that die, are forked or are interrupted: one span each, and no more work.

All stories go on at the same time: they mostly wait.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from prefect.states import Cancelling

from tests.chaos import CHAOS
from tests.e2e.site import GRACE, SECOND, Requests, Site, ends_with_its_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

MANY = 1500 if CHAOS else 300

Stories = dict[str, Future[Any]]


@pytest.fixture(scope="module")
def stories(place: Site) -> Iterator[Stories]:
    place.start_worker("one")
    told: dict[str, Callable[[Site], Any]] = {
        "forked": bodies_fork,
        "pool": pool_workers_are_killed,
        "power": the_power_is_cut,
    }
    with ThreadPoolExecutor(len(told)) as threads:
        yield {name: threads.submit(story, place) for name, story in told.items()}


def bodies_fork(place: Site) -> dict[str, UUID]:
    return {how: place.run("one", "forking", how=how) for how in ("exits", "raises", "_exits")}


@pytest.mark.parametrize("how", ["exits", "raises", "_exits"])
def test_a_forked_child_does_not_end_its_parents_span(
    place: Site, stories: Stories, how: str
) -> None:
    run = stories["forked"].result()[how]
    place.pid(run, "joined")
    (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Completed"
    assert span.end_ns >= place.marked_at(run, "joined")


def pool_workers_are_killed(place: Site) -> dict[str, UUID]:
    runs = {"goes on": place.run("one", "pooling"), "ends": place.start("pool", "pooling")[1]}
    for run in runs.values():
        os.kill(place.in_task(run), signal.SIGKILL)
        place.pid(run, "caught")
    place.tell(runs["ends"])
    return runs


@pytest.mark.parametrize("name", ["goes on", "ends"])
def test_a_pool_worker_that_is_killed_fails_its_task_run_alone(
    place: Site, stories: Stories, name: str
) -> None:
    run = stories["pool"].result()[name]
    killed = place.marked_at(run, "caught")
    if name == "goes on":  # the run's own process ends it
        (span,) = place.wait_for_spans(run)
    else:
        assert place.api.wait_for_end(run).state_name == "Completed"
        time.sleep(max(0, killed / SECOND + GRACE - time.time()))
        place.reconcile("pool")
        (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Failed"
    assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert "died" in span.status_description
    assert ends_with_its_process(span, killed)
    place.tell(run)
    assert place.api.wait_for_end(run).state_name == "Completed"


def the_power_is_cut(place: Site) -> dict[str, Any]:
    """A run and its plain worker are killed together; then the machine has a run again."""
    place.start_worker("dark")
    names = {"working": "working", "cancelling": "working", "early": "before_its_first_task"}
    runs = {name: place.run("dark", function) for name, function in names.items()}
    pids = {name: place.pid(run) for name, run in runs.items()}
    for name in ("working", "cancelling"):
        place.in_task(runs[name])
    with place.stopped(place.prefect.workers["dark"].pid):  # it would obey
        place.api.client.set_flow_run_state(runs["cancelling"], Cancelling())
        killed = place.cut_power("dark", *pids.values())
    _, following = place.start("dark", "working")
    return {**runs, "killed": killed, "following": following}


def test_after_a_power_cut_the_next_run_ends_what_was_left(place: Site, stories: Stories) -> None:
    told = stories["power"].result()
    assert place.api.wait_for_end(told["early"]).state_name == "Crashed"
    for name, state, status in (
        ("working", "Crashed", "Failed"),
        ("cancelling", "Cancelled", "Cancelled"),
    ):
        (span,) = place.wait_for_spans(told[name])
        assert span.attributes["task.status"] == status
        assert ends_with_its_process(span, told["killed"])
        flow_run = place.api.wait_for_end(told[name])
        assert flow_run.state_name == state
        assert "its last sign of life was" in str(flow_run.state.message)
        if status == "Failed":
            assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
            assert span.status_description == flow_run.state.message
    assert "its last sign" in str(place.api.flow_run(told["early"]).state.message)
    assert place.spans(told["early"]) == []
    place.tell(told["following"])
    (span,) = place.wait_for_spans(told["following"])
    assert span.attributes["task.status"] == "Completed"


def test_with_a_provider_of_its_own_an_application_tells_no_run_twice(place: Site) -> None:
    program, run = place.start("own", "many", MANY, OWN_PROVIDER="1")
    program.send_signal(signal.SIGINT)
    program.wait()
    told = [span.attributes for span in place.wait_for_spans(run, MANY + 1)]
    assert len({each["task.id"] for each in told}) == len(told) == MANY + 1
    assert [each["task.status"] for each in told] == ["Completed"] * MANY + ["Cancelled"]
    # Of a run that is killed, whoever comes next tells its own exporters.
    program, run = place.start("own", "working", OWN_PROVIDER="1")
    program.send_signal(signal.SIGKILL)
    program.wait()
    time.sleep(GRACE)
    place.reconcile("own")
    (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Failed"


@pytest.mark.parametrize("how", ["SIGINT", "cancelled"])
def test_an_interrupted_process_asks_what_prefect_asks_without_us(place: Site, how: str) -> None:
    """From its beginning to its end, however many of its tasks have ended."""

    def asked(count: int, **environment: str) -> list[str]:
        requests = Requests(place.prefect.port)
        try:
            program, run = place.start(
                "counted", "many", count, PREFECT_API_URL=requests.url, **environment
            )
            if how == "cancelled":
                place.api.cancel(run)
            program.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
            program.wait()
        finally:
            requests.stop()
        # Logs are sent now and then.
        return [each for each in requests.seen if "/logs" not in each]

    plain, many = asked(3, PLAIN="1"), asked(MANY // 10)
    assert set(many) == set(plain)
    assert any("set_state" in each for each in plain)
    # Prefect asks again what a busy server refuses; once for each task would be more.
    assert len(many) - len(plain) < MANY // 10 - 3


def test_no_span_ended_twice(place: Site) -> None:
    assert place.ended_twice() == set()
