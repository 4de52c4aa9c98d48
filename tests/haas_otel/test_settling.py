"""What a killed process left, settled by another process that sees only the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running

import haas_otel
from haas_otel import hooks, labels, reconcile, settling, span
from tests.haas_otel.dies import ends_well, finished, killed
from tests.haas_otel.records import ALedger, is_killed, kept_by, task_runs

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from prefect.client.schemas.objects import FlowRun

    from tests.haas_otel.conftest import Told
    from tests.haas_otel.given import Client, Kill, MonkeyPatch

NOW = timedelta(0)


def events(told: ReadableSpan) -> list[str]:
    return [event.name for event in told.events]


def test_killed_run_that_crashed(told: Told, client: Client, killed_run: FlowRun) -> None:
    state = Crashed(message="Process exited with status code: -9.")
    result = settling.settle_flow_run(client, killed_run, state)
    assert len(result.ended) == 1
    assert result.going_on == ()
    one = told.one
    assert one.attributes["task.name"] == "Killed in the third attempt"
    assert one.attributes["task.type"] == "KilledTask"
    assert one.attributes["task.status"] == "Failed"
    assert one.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert one.status.description == "Process exited with status code: -9."
    assert one.end_time == span.nanoseconds(state.timestamp)
    # What earlier attempts had told travelled on the labels.
    assert one.attributes["media.attempt"] == 2
    assert events(one) == ["task.started", "task.retrying", "task.retrying", "task.failed"]


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
def test_killed_run_that_was_cancelled(
    told: Told, client: Client, killed_run: FlowRun, state: Any
) -> None:
    settling.settle_flow_run(client, killed_run, state)
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.status.description == "Task was cancelled"


def test_what_was_tried_again_after_the_cancelling_is_within_the_span(
    told: Told, client: Client, killed_run: FlowRun
) -> None:
    """A task in a thread goes on, from the cancel until its process is killed."""
    settling.settle_flow_run(client, killed_run, Cancelling(timestamp=killed_run.start_time))
    one = told.one
    assert events(one) == ["task.started", "task.retrying", "task.retrying", "task.cancelled"]
    moments = [event.timestamp for event in one.events]
    assert moments == sorted(moments)
    assert (one.start_time, one.end_time) == (moments[0], moments[-1])
    assert one.attributes["task.duration_ms"] == (one.end_time - one.start_time) / 1e6


def test_the_ledger_prevents_a_second_telling(
    told: Told, client: Client, killed_run: FlowRun, monkeypatch: MonkeyPatch
) -> None:
    (completed,) = [
        run
        for run in task_runs(client, killed_run)
        if run.state.is_completed() and labels.TASK_TYPE in run.labels
    ]
    held: set[int] = set()
    ledger = ALedger(str(completed.labels[labels.LEDGER]), held.__contains__)
    monkeypatch.setattr(settling, "_ledger", lambda: ledger)
    # The process died between the state Completed and the writing of its span.
    settling.settle_flow_run(client, killed_run, Crashed(message="killed"))
    told_of = {s.attributes["task.name"]: s.attributes["task.status"] for s in told.task_spans}
    assert told_of == {"Finished before": "Completed", "Killed in the third attempt": "Failed"}
    held.update(s.context.span_id for s in told.task_spans)
    hooks.told.clear()  # as in another process
    assert settling.settle_flow_run(client, killed_run, Crashed()).ended == ()
    assert len(told.task_spans) == 2


def test_a_record_that_lags_behind_is_not_told_again(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """There is no ledger, as with an application's provider, and the server is late."""
    runs = kept_by(interrupts)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    run = client.read_flow_run(UUID(str(told.one.attributes["prefect.flow_run.id"])))
    (late,) = runs.values()
    late.state = Running()
    late.labels.pop(labels.SETTLED)
    monkeypatch.setattr(settling, "_task_runs", lambda client, flow_run: [late])
    assert settling.settle_flow_run(client, run, Crashed()).ended == ()
    assert told.one.attributes["task.status"] == "Cancelled"


@pytest.mark.parametrize("written_down", [False, True])
def test_what_one_machine_has_told_no_other_tells(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch, written_down: bool
) -> None:
    """Told by its worker, or by the run itself, whose last state never reached the server."""
    killed_run = kill("alone")
    (killed_task,) = [run for run in task_runs(client, killed_run) if is_killed(run)]

    span_id = killed_task.id.int & 0xFFFF_FFFF_FFFF_FFFF
    ledger = str(killed_task.labels[labels.LEDGER])
    there = ALedger(ledger, lambda asked: written_down or asked != span_id)
    monkeypatch.setattr(settling, "_ledger", lambda: there)
    settling.settle_flow_run(client, killed_run, Crashed(message="killed"))
    assert len(told.task_spans) == (0 if written_down else 1)
    # It can know nothing of this.
    elsewhere = ALedger("another machine's", lambda _: pytest.fail("it is asked"))
    monkeypatch.setattr(settling, "_ledger", lambda: elsewhere)
    seen_there = client.read_flow_run(killed_run.id)
    assert settling.settle_flow_run(client, seen_there, Crashed()).ended == ()


def test_the_reconciler_settles_once_and_marks(
    told: Told, client: Client, killed_run: FlowRun, monkeypatch: MonkeyPatch
) -> None:
    client.set_flow_run_state(killed_run.id, Crashed(message="no heartbeat"), force=True)
    assert killed_run.id not in reconcile(quiet=timedelta(minutes=1)).flow_runs
    assert told.task_spans == []
    first = reconcile(quiet=NOW)
    assert killed_run.id in first.flow_runs
    assert told.one.status.description == "no heartbeat"
    assert client.read_flow_run(killed_run.id).labels[labels.SETTLED] == 1

    requests = []
    send = SyncPrefectClient.request
    monkeypatch.setattr(
        SyncPrefectClient,
        "request",
        lambda self, *a, **k: requests.append(a[:2]) or send(self, *a, **k),
    )
    assert reconcile(quiet=NOW).flow_runs == ()
    assert requests == [("POST", "/flow_runs/filter")]
    assert len(told.task_spans) == 1


@pytest.mark.parametrize(
    ("first", "status", "description"),
    [
        (Crashed(message="killed at first"), "Failed", "killed at first"),
        (Cancelled(), "Cancelled", "Task was cancelled"),
    ],
)
def test_a_retried_flow_run_settles_what_its_first_attempt_left(
    told: Told, client: Client, kill: Kill, first: Any, status: str, description: str
) -> None:
    run = kill("alone")
    client.set_flow_run_state(run.id, first, force=True)
    client.set_flow_run_state(run.id, Running(name="Retrying"), force=True)
    again = client.read_flow_run(run.id)
    assert again.run_count == 2
    assert again.state is not None
    settling.haas_otel_on_begun(ends_well, again, again.state)
    assert told.one.attributes["task.status"] == status
    assert told.one.attributes["prefect.attempt"] == 1
    assert told.one.status.description == description


def test_the_current_attempt_is_not_settled_when_it_begins(
    told: Told, client: Client, kill: Kill
) -> None:
    run = kill("alone")
    settling.settle_flow_run(client, run, Running(), earlier_attempts=True)
    assert told.task_spans == []


def test_records_that_are_late_are_waited_for(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    run = client.create_flow_run(ends_well)
    looks: list[float] = []
    monkeypatch.setattr(settling.time, "sleep", looks.append)
    settling.haas_otel_on_stopped(ends_well, run, Crashed())
    assert looks == [pause.total_seconds() for pause in settling.SECOND_LOOKS]
    assert told.task_spans == []


def test_cancellation_hooks_are_called_by_the_process_that_settles(
    told: Told, client: Client, killed_run: FlowRun, monkeypatch: MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(
        killed, "on_cancellation_hooks", [lambda t, r, s: calls.append(f"{t.name} {s.name}")]
    )
    monkeypatch.setitem(settling._tasks, _task_key_of(client, killed_run), killed)
    settling.settle_flow_run(client, killed_run, Cancelling())
    assert calls == ["Killed in the third attempt Cancelled"]


def _task_key_of(client: Client, flow_run: FlowRun) -> str:
    (nested,) = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id={"any_": [flow_run.id]})
    )
    (run,) = task_runs(client, nested)
    return str(run.task_key)


def test_a_task_run_that_goes_on_in_this_process_is_left_alone(
    told: Told, client: Client, kill: Kill
) -> None:
    run = kill("alone")
    (task_run,) = task_runs(client, run)
    live = hooks.LiveSpan(span.start(task_run, run), killed, task_run, task_run.state.id)
    hooks.live[task_run.id] = live
    result = settling.settle_flow_run(client, run, Crashed())
    assert result.going_on == (task_run.id,)
    client.set_flow_run_state(run.id, Crashed(), force=True)
    assert run.id not in reconcile(quiet=NOW).flow_runs
    hooks.live.clear()
    assert told.task_spans == []


def test_switched_off(told: Told, client: Client, monkeypatch: MonkeyPatch) -> None:
    run = client.create_flow_run(ends_well)
    run.run_count = 2
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setattr(settling, "get_client", None)
    settling.haas_otel_on_begun(ends_well, run, Running())
    settling.haas_otel_on_stopped(ends_well, run, Crashed())
    assert reconcile().flow_runs == ()


@haas_otel.flow
def interrupted() -> None:
    interrupts()


@haas_otel.task
def interrupts() -> None:
    raise KeyboardInterrupt


def test_a_task_run_that_never_started_is_not_settled(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """It had a name, and waited for a free slot, when its flow run was cancelled."""
    run = client.create_flow_run(ends_well)
    waited = client.create_task_run(finished, run.id, dynamic_key="0", state=Pending())
    waited.labels[labels.TASK_TYPE] = "FinishedTask"
    monkeypatch.setattr(settling, "_task_runs", lambda client, flow_run: [waited])
    settled = settling.settle_flow_run(client, client.read_flow_run(run.id), Cancelled())
    assert (settled.ended, settled.seen_all) == ((), False)
    assert told.task_spans == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_moments_are_exact_to_their_microsecond(zone: str) -> None:
    moment = datetime(2111, 4, 13, 16, 22, 54, 605861, tzinfo=ZoneInfo(zone))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert span.nanoseconds(moment) == since // timedelta(microseconds=1) * 1000
    assert span.nanoseconds(moment.astimezone(UTC)) == span.nanoseconds(moment)


def test_a_completed_run_needs_no_settling(told: Told, client: Client) -> None:
    ends_well()
    assert len(told.task_spans) == 1
    run = client.read_flow_run(UUID(str(told.one.attributes["prefect.flow_run.id"])))
    assert settling.settle_flow_run(client, run, Completed()).ended == ()
