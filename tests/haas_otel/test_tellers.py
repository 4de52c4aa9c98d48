"""Who else may tell a span: other processes, other machines, and records that lag or never come.

There is no ledger here, as with an application's own provider or on another machine, unless a test
says so: the records alone have to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect.exceptions import Pause
from prefect.states import Cancelled, Cancelling, Crashed, Paused, Running

from haas_otel import flow, hooks, labels, settling, span, task
from tests.haas_otel.dies import ends_well
from tests.haas_otel.records import ALedger, kept_by, task_runs
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import FlowRun

    from tests.haas_otel.conftest import Told
    from tests.haas_otel.given import Client, Kill, LogCapture, MonkeyPatch


def flow_run_of(told: Told, client: Client) -> FlowRun:
    return client.read_flow_run(UUID(str(told.one.attributes["prefect.flow_run.id"])))


def seen_stopping(
    told: Told, client: Client, task: Any, flow: Callable[[], object], error: type[BaseException]
) -> tuple[FlowRun, Any]:
    """Run a flow that is stopped in its task; give its run, and the task run as it was there."""
    runs = kept_by(task)
    with pytest.raises(error):
        flow()
    (task_run,) = runs.values()
    return flow_run_of(told, client), task_run


@pytest.mark.parametrize(
    ("ended_by", "status", "last"),
    [(Crashed, "Failed", "task.failed"), (Cancelled, "Cancelled", "task.cancelled")],
)
def test_killed_while_it_waits_for_a_retry(
    told: Told, client: Client, kill: Kill, ended_by: Callable[[], Any], status: str, last: str
) -> None:
    run, state = kill("waiting"), ended_by()
    settling.haas_otel_on_stopped(ends_well, run, state)
    assert told.one.attributes["task.status"] == status
    assert told.one.attributes["media.attempt"] == 1
    assert [e.name for e in told.one.events] == ["task.started", "task.retrying", last]
    settling.haas_otel_on_stopped(ends_well, run, state)
    assert len(told.task_spans) == 1


@pytest.mark.parametrize(
    "state",
    [
        # Prefect's server does this to all that a cancelled flow run has left.
        Cancelled(message="The parent flow run was cancelled."),
        # A process that obeys while it waits for a retry: no hook of the task is called.
        Crashed(message="Execution was aborted by a termination signal."),
    ],
)
def test_an_end_that_others_gave_a_task_run_does_not_show_that_it_is_told(
    told: Told, client: Client, kill: Kill, state: Any
) -> None:
    run = kill("waiting")
    (task_run,) = task_runs(client, run)
    client.set_task_run_state(task_run.id, state, force=True)
    wait_until(lambda: task_runs(client, run)[0].state_type == state.type)
    settling.settle_flow_run(client, run, Cancelled())
    assert told.one.attributes["task.status"] == "Cancelled"
    assert settling.settle_flow_run(client, client.read_flow_run(run.id), Cancelled()).ended == ()


@pytest.mark.usefixtures("interrupted_while_it_waits")
def test_what_the_hook_of_an_ending_flow_run_tells_is_marked(told: Told, client: Client) -> None:
    @task(retries=1, retry_delay_seconds=60)
    def waits() -> None:
        raise ConnectionError("refused")

    @flow
    def catches() -> None:
        try:
            waits()
        except KeyboardInterrupt:
            raise ValueError("as a failure") from None

    assert catches(return_state=True).is_failed()
    run = flow_run_of(told, client)
    assert labels.TOLD + str(told.one.attributes["task.id"]) in run.labels


def test_what_is_left_without_a_state_is_marked(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """A suspended flow run: Prefect leaves the task run in whose body it was noticed Running."""

    @task
    def outer() -> None:
        raise Pause(state=Paused(name="Suspended"))

    @flow
    def suspended() -> None:
        outer()

    run, task_run = seen_stopping(told, client, outer, suspended, Pause)
    assert task_run.state is not None
    assert task_run.state.is_running()
    task_run.labels.pop(labels.SETTLED)  # no state takes it to the server
    monkeypatch.setattr(settling, "_task_runs", lambda client, flow_run: [task_run])
    hooks.told.clear()  # as in another process
    assert settling.settle_flow_run(client, run, Crashed()).ended == ()


def test_a_run_without_a_flow_has_nobody_to_mark_it_for(told: Told, caplog: LogCapture) -> None:
    @task
    def alone() -> None:
        raise Pause(state=Paused(name="Suspended"))

    with pytest.raises(Pause):
        alone()
    assert told.one.attributes["task.status"] == "Cancelled"
    assert "cannot be told" not in caplog.text


def test_marks_that_cannot_be_put_on_leave_the_span_to_who_comes_next(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """The server goes away in the middle; then the reconciler comes by, on another machine."""
    run = kill("alone")
    with monkeypatch.context() as broken:

        def gone(*args: Any) -> None:
            raise ConnectionError("the server is gone")

        broken.setattr(client, "update_flow_run_labels", gone)
        with pytest.raises(ConnectionError):
            settling.settle_flow_run(client, run, Crashed(message="killed"))
    hooks.told.clear()
    settling.settle_flow_run(client, client.read_flow_run(run.id), Crashed(message="killed"))
    assert told.one.status.description == "killed"


def test_a_mark_without_its_span_is_made_good_by_the_ledger(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """Who put it on died before the span was written down."""

    empty = ALedger("of who marked it", lambda _: False)
    monkeypatch.setattr(settling, "_ledger", lambda: empty)
    run = kill("alone")
    (task_run,) = task_runs(client, run)
    client.update_flow_run_labels(run.id, labels.told([task_run.id], empty.id))
    settling.settle_flow_run(client, client.read_flow_run(run.id), Crashed(message="killed"))
    assert told.one.status.description == "killed"
    # What this process has told it knows, before anybody can read it in the ledger.
    assert settling.settle_flow_run(client, client.read_flow_run(run.id), Crashed()).ended == ()


def test_what_the_ledger_has_removed_is_not_told_again(
    told: Told, client: Client, killed_run: FlowRun, monkeypatch: MonkeyPatch
) -> None:
    """A flow run is retried when its spans, one by itself and one by a hook, are long removed."""
    (finished,) = [run for run in task_runs(client, killed_run) if labels.LEDGER in run.labels]
    (nested,) = [run for run in settling._with_nested(client, killed_run) if run != killed_run]
    (killed,) = task_runs(client, nested)
    ends = [span.nanoseconds(end) for end in (finished.end_time, killed.start_time)]
    asked: list[int] = []
    forgetful = ALedger(
        str(finished.labels[labels.LEDGER]), lambda _: False, lambda moment: asked.append(moment)
    )
    monkeypatch.setattr(settling, "_ledger", lambda: forgetful)
    client.update_flow_run_labels(nested.id, labels.told([killed.id], forgetful.id))
    assert settling.settle_flow_run(client, killed_run, Crashed()).ended == ()
    assert sorted(asked) == sorted(ends)


def test_a_hook_sees_what_was_marked_since_its_flow_run_was_read(
    told: Told, client: Client, kill: Kill
) -> None:
    run = kill("alone")
    (task_run,) = task_runs(client, run)
    client.update_flow_run_labels(run.id, labels.told([task_run.id], None))
    settling.haas_otel_on_stopped(ends_well, run, Crashed())
    assert told.task_spans == []


def test_a_late_hook_leaves_the_next_attempt_alone(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """An automation has retried the flow run before the hook of the crash is called."""
    run = kill("alone")
    crashed = Crashed(message="killed")
    client.set_flow_run_state(run.id, crashed, force=True)
    client.set_flow_run_state(run.id, Running(name="Retrying"), force=True)

    def of_the_next_attempt(client: Client, flow_run: FlowRun) -> list[Any]:
        found = task_runs(client, flow_run)
        for task_run in found:
            task_run.flow_run_run_count = 2
        return found

    with monkeypatch.context() as context:
        context.setattr(settling, "_task_runs", of_the_next_attempt)
        settling.haas_otel_on_stopped(ends_well, run, crashed)
        settling.settle_flow_run(client, run, crashed)
    assert told.task_spans == []
    settling.haas_otel_on_stopped(ends_well, run, crashed)
    assert told.one.status.description == "killed"


def test_a_record_that_comes_while_the_hook_waits_is_believed(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """The run's own process has told it, and there is no ledger to ask."""

    @task
    def obeys() -> None:
        raise KeyboardInterrupt

    @flow
    def cancelled() -> None:
        obeys()

    run, last = seen_stopping(told, client, obeys, cancelled, KeyboardInterrupt)
    assert labels.SETTLED in last.labels
    before = {key: value for key, value in last.labels.items() if key != labels.SETTLED}
    first = last.model_copy(update={"state": Running(), "labels": before})
    looks: list[float] = []

    def lagging(client: Client, flow_run: FlowRun) -> list[Any]:
        return [last if looks else first]

    monkeypatch.setattr(settling, "_task_runs", lagging)
    monkeypatch.setattr(settling.time, "sleep", looks.append)
    hooks.told.clear()  # as in another process
    settling.haas_otel_on_stopped(ends_well, run, Cancelling())
    assert len(told.task_spans) == 1
    assert len(looks) == 1


def test_a_retried_flow_run_settles_what_its_nested_ones_left(
    told: Told, client: Client, killed_run: FlowRun
) -> None:
    client.set_flow_run_state(killed_run.id, Crashed(message="killed at first"), force=True)
    client.set_flow_run_state(killed_run.id, Running(name="Retrying"), force=True)
    again = client.read_flow_run(killed_run.id)
    assert again.state is not None
    settling.haas_otel_on_begun(ends_well, again, again.state)
    assert told.one.attributes["task.name"] == "Killed in the third attempt"
    assert told.one.status.description == "killed at first"


def test_a_pause_does_not_end_an_attempt(told: Told, client: Client, kill: Kill) -> None:
    """Though the server counts another run of a flow run that is resumed in its process."""
    run = kill("alone")
    client.set_flow_run_state(run.id, Paused(timeout_seconds=300), force=True)
    client.resume_flow_run(run.id)
    assert client.read_flow_run(run.id).run_count == 2
    client.set_flow_run_state(run.id, Cancelling(), force=True)
    settling.haas_otel_on_stopped(ends_well, client.read_flow_run(run.id), Cancelling())
    assert told.one.attributes["task.status"] == "Cancelled"


@pytest.mark.usefixtures("interrupted_while_it_waits")
def test_at_the_end_of_a_process_only_runs_without_a_flow_are_ended(told: Told) -> None:
    """Those of a flow run are told by its hooks, in whatever process, or by the reconciler."""
    called: list[str] = []

    @task(
        retries=1, retry_delay_seconds=60, on_cancellation=[lambda t, r, s: called.append(s.name)]
    )
    def waits() -> None:
        raise ConnectionError("refused")

    with pytest.raises(KeyboardInterrupt):
        waits()
    (running,) = hooks.live.values()
    running.task_run.flow_run_id = running.task_run.id
    assert hooks.settle_live() == []
    running.task_run.flow_run_id = None
    assert hooks.settle_live() == [running.task_run.id]
    assert told.one.attributes["task.status"] == "Cancelled"
    assert called == ["Cancelled"]
