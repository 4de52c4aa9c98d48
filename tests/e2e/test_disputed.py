"""What Prefect's record says of runs that work: it is a rumour, and ends no span and no run.

All runs are disputed at the same time: they mostly wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from prefect.states import Cancelled, Crashed, Failed

from haas_otel import records
from tests.chaos import CHAOS
from tests.e2e.site import HEARTBEAT, Site, site
from tests.faulty_port import FaultyPort
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.received import ReceivedSpan

pytestmark = pytest.mark.timeout(3000 if CHAOS else 900)

AWAY, FROZEN, SILENCE = (600, 180, 900) if CHAOS else (60, 20, 25)  # seconds
CLICKS = {"Crashed": Crashed, "Cancelled": Cancelled, "Failed": Failed}
CUT_OFF = ["cut off", "cut off, too", "cut off as well"]


def check_completed(spans: list[ReceivedSpan], ended: int) -> None:
    """The one span of a run that was told to end: it ended after that."""
    (span,) = spans
    assert span.attributes["task.status"] == "Completed"
    assert ended <= span.end_ns <= time.time_ns()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site"), SILENCE) as made:
        yield made


@pytest.fixture(scope="module")
def runs(place: Site) -> dict[str, UUID]:
    """Runs that were disputed by a person who set their state, and by their silence.

    Each works on until it is told to end.
    """
    place.start_worker("one")
    port = FaultyPort(place.prefect.port, 0)
    url = {"PREFECT_API_URL": f"http://127.0.0.1:{port.port}/api"}
    place.start_worker("cut off", **url)
    runs = {name: place.run("cut off", "working") for name in CUT_OFF}
    runs |= {name: place.run("one", "working") for name in [*CLICKS, "frozen"]}
    runs["given up"] = place.run("one", "working_twice")
    pids = {name: place.in_task(run) for name, run in runs.items()}

    def reconcile(*lost: str, **cut_off: str) -> None:
        ours, found = tasks_of(place, *runs.values()), place.reconcile("two")
        assert found.task_runs & ours == tasks_of(place, *(runs[name] for name in lost))
        assert place.reconcile("one").task_runs.isdisjoint(ours)
        if cut_off:
            assert place.reconcile("cut off", **cut_off).task_runs.isdisjoint(ours)

    with place.stopped(pids["given up"]):
        port.set_mode("refuse")
        back = time.monotonic() + AWAY
        for name, state in CLICKS.items():
            place.api.client.set_flow_run_state(runs[name], state(message="a click"), force=True)
        with place.stopped(pids["frozen"]):
            time.sleep(FROZEN)
            reconcile()
        time.sleep(max(0, back - time.monotonic()))
        port.set_mode("pass")
        reconcile(**url)
        while records.SUSPECTED not in place.api.flow_run(runs["given up"]).labels:
            time.sleep(SILENCE / 5)
            reconcile()
        time.sleep(2 * HEARTBEAT + 1)
        reconcile("given up", **url)
    # What it begins from now on is its own to end, however long it takes.
    place.tell(runs["given up"])
    place.pid(runs["given up"], "running again")
    time.sleep(SILENCE + 1)
    return runs


@pytest.mark.parametrize("name", [*CLICKS, *CUT_OFF, "frozen"])
def test_a_record_does_not_end_the_span_of_a_run_that_works(
    place: Site, runs: dict[str, UUID], name: str
) -> None:
    run = runs[name]
    assert place.spans(run) == []
    ended = place.tell(run)
    check_completed(place.wait_for_spans(run), ended)
    # As without us: the run's own process has the last word at the server, too.
    wait_until(lambda: place.api.flow_run(run).state_name == "Completed", what=f"{name} to end")


def test_who_was_given_up_while_it_was_frozen_stays_silent(
    place: Site, runs: dict[str, UUID]
) -> None:
    run = runs["given up"]
    (span,) = place.wait_for_spans(run)
    assert span.attributes["task.status"] == "Failed"
    assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert place.api.flow_run(run).state_name == "Crashed"
    assert "its last sign of life was" in str(place.api.flow_run(run).state.message)
    ended = place.tell(run, "end again")
    first, second = place.wait_for_spans(run, 2)
    assert first == span
    check_completed([second], ended)
    assert "took this one for gone" in place.prefect.log("one")


def test_no_span_ended_twice(place: Site) -> None:
    assert place.ended_twice() == set()


def tasks_of(place: Site, *runs: UUID) -> set[UUID]:
    return {task.id for run in runs for task in place.api.task_runs(run)}
