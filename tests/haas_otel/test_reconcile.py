"""What a process left that died, settled by another: on its machine, or from one far away."""

from __future__ import annotations

import os
import signal
import time
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.context import TaskRunContext
from prefect.exceptions import Pause
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
)
from prefect.task_engine import SyncTaskRunEngine, run_task_sync

import haas_otel
from haas_otel import decision, flow, history, hooks, reconciler, records, span, task
from haas_otel.delivery.disk import SharedDisk
from haas_otel.delivery.segments import Journal
from haas_otel.server import Server
from tests.haas_otel.dies import ends_well, killed
from tests.haas_otel.records import task_runs
from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan
    from prefect.client.schemas.objects import FlowRun

    from tests.haas_otel.conftest import Told
    from tests.haas_otel.given import Client, Kill, LogCapture, MonkeyPatch

SECOND = 1_000_000_000


def events(told: ReadableSpan) -> list[str]:
    return [event.name for event in told.events]


def stopped(client: Client, run: FlowRun, state: Any) -> FlowRun:
    """Give a flow run its last state, and call the hook that Prefect calls then."""
    client.set_flow_run_state(run.id, state, force=True)
    hooks.haas_otel_on_ended(ends_well, client.read_flow_run(run.id), state)
    return client.read_flow_run(run.id)


def is_marked(client: Client, one: ReadableSpan) -> bool:
    """Say whether a flow run has the mark that the span of its task run is ended."""
    run = client.read_flow_run(UUID(str(one.attributes["prefect.flow_run.id"])))
    return f"haas_otel.settled.{one.attributes['task.id']}" in run.labels


def long_ago(folder: Path, seconds: float = 60) -> None:
    """Have the dead processes of a folder be dead for longer."""
    for path in (folder / "journal").iterdir():
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))


@pytest.fixture
def folder(killed_runs: Any, disk: SharedDisk) -> Iterator[Path]:
    """Of all that died, which a test settles; no other may use it."""
    killed_runs.forget()
    yield killed_runs.folder
    killed_runs.forget()


@pytest.mark.usefixtures("disk")
def test_killed_run_that_crashed(told: Told, client: Client, killed_run: FlowRun) -> None:
    """Its task run is in a nested flow run."""
    stopped(client, killed_run, Crashed(message="Process exited with status code: -9."))
    one = told.one
    assert one.attributes["task.name"] == "Killed in the third attempt"
    assert one.attributes["task.type"] == "KilledTask"
    assert one.attributes["task.status"] == "Failed"
    assert one.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
    assert one.status.description == "Process exited with status code: -9."
    # What earlier attempts had told is on the disk.
    assert one.attributes["media.attempt"] == 2
    assert events(one) == ["task.started", "task.retrying", "task.retrying", "task.failed"]
    assert one.start_time <= one.end_time <= time.time_ns()


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize(
    ("state", "by"),
    [
        (Cancelling(), "user"),
        (Cancelled(message="The worker w was stopped by the system."), "system"),
    ],
)
def test_killed_run_that_was_cancelled(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch, state: Any, by: str
) -> None:
    run = kill("alone")
    calls: list[str] = []

    def give_back(task: Any, task_run: Any, state: Any) -> None:
        time.sleep(0.5)  # its own time is not the server's
        calls.append(f"{task.name} {state.name}")

    monkeypatch.setattr(killed, "on_cancellation_hooks", [give_back])
    stopped(client, run, state)  # in a process that does not know the task
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.attributes["prefect.ended_by"] == by
    assert told.one.status.description == "Task was cancelled"
    assert calls == []
    monkeypatch.setitem(reconciler._tasks, task_runs(client, run)[0].task_key, killed)
    for _ in range(2):
        stopped(client, run, state)
        assert len(told.task_spans) == 1
        assert calls == ["Killed in the third attempt Cancelled"]


@pytest.mark.parametrize(
    ("ended_by", "last"), [(Crashed, "task.failed"), (Cancelled, "task.cancelled")]
)
@pytest.mark.usefixtures("disk")
def test_killed_while_it_waits_for_a_retry(
    told: Told, client: Client, kill: Kill, ended_by: Any, last: str
) -> None:
    run, state = kill("waiting"), ended_by()
    stopped(client, run, state)
    assert told.one.attributes["media.attempt"] == 1
    assert events(told.one) == ["task.started", "task.retrying", last]
    stopped(client, run, state)
    assert len(told.task_spans) == 1


@pytest.mark.usefixtures("folder")
def test_a_run_that_died_unseen_is_found_by_its_machine(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """Its worker died with it: no state, no hook. A worker that lives is waited for."""
    monkeypatch.setattr(decision, "GRACE", 3600 * SECOND)
    run = kill("alone")
    died = time.time_ns()
    mine = task_runs(client, run)[0].id
    assert mine not in haas_otel.reconcile().task_runs
    monkeypatch.setattr(decision, "GRACE", 0)
    result = haas_otel.reconcile()
    assert run.id in result.flow_runs
    (one,) = told.of(run)
    assert one.attributes["task.status"] == "Failed"
    assert one.end_time < died
    after = client.read_flow_run(run.id)
    assert after.state.is_crashed()
    assert "The run's process died" in after.state.message
    assert one.status.description == after.state.message
    assert mine not in haas_otel.reconcile().task_runs


@pytest.mark.usefixtures("folder")
def test_the_server_of_this_machine_is_one_by_whatever_name(
    told: Told, prefect_server: str, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "GRACE", 0)
    run = kill("alone")
    by_name = prefect_server.replace("127.0.0.1", "localhost")
    with temporary_settings({PREFECT_API_URL: by_name}):
        assert run.id in haas_otel.reconcile().flow_runs
    assert told.of(run)


@pytest.mark.usefixtures("folder")
def test_what_a_living_worker_has_in_hand_is_left_to_it(
    told: Told, client: Client, kill: Kill, disk: SharedDisk, monkeypatch: MonkeyPatch
) -> None:
    """The server is so slow that a stop is not there long after the process has ended."""
    monkeypatch.setattr(decision, "GRACE", SECOND)
    run, other = kill("alone"), kill("alone")
    for each in (run, other):
        key = records.HELD(each.id)
        disk.begin(key, records.of_flow(each.id, time.time_ns()))

    time.sleep(1.1)
    result = haas_otel.reconcile()
    assert told.of(run) == told.of(other) == []
    assert client.read_flow_run(run.id).state.is_running()
    assert result.look_again > 0
    # It calls the flow run's hooks before it says at the server what they are called for.
    stop = Cancelling(message="The worker w was stopped by the system.")
    monkeypatch.setattr(decision, "GRACE", PATIENCE * SECOND)  # for a server that is slow
    hooks.haas_otel_on_ended(ends_well, client.read_flow_run(run.id), stop)
    (one,) = told.of(run)
    assert one.attributes["task.status"] == "Cancelled"
    assert one.attributes["prefect.ended_by"] == "system"
    assert client.read_flow_run(run.id).state.is_running()
    client.set_flow_run_state(run.id, Cancelled(), force=True)
    for each in (run, other):
        disk.end(records.HELD(each.id))
    monkeypatch.setattr(decision, "GRACE", 0)
    haas_otel.reconcile()
    assert client.read_flow_run(run.id).state.is_cancelled()
    assert client.read_flow_run(other.id).state.is_crashed()
    assert told.of(run) == [one]
    assert [s.attributes["task.status"] for s in told.of(other)] == ["Failed"]


@pytest.mark.usefixtures("folder")
def test_what_the_system_stopped_is_cancelled_though_the_server_did_not_hear_of_it(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """It had no answer to the state for as long as the worker waited, but took the label before."""
    monkeypatch.setattr(decision, "GRACE", 0)
    runs = {how: kill("alone") for how in ("stopped", "by an earlier version", "retried since")}
    for how, run in runs.items():
        labels = records.stopped_by("The worker w", run)
        if how == "by an earlier version":
            del labels[records.STOPPED_IN]
        if how == "retried since":
            labels[records.STOPPED_IN] -= 1
        client.update_flow_run_labels(run.id, labels)
    haas_otel.reconcile()
    ends = {}
    for how, run in runs.items():
        state = client.read_flow_run(run.id).state
        (one,) = told.of(run)
        by = one.attributes["prefect.ended_by"]
        ends[how] = state.type.value, one.attributes["task.status"], by
        stopped = "The worker w was stopped by the system. The run's process died: its last sign"
        assert str(state.message).startswith(stopped) == (how != "retried since")
    cancelled, crashed = ("CANCELLED", "Cancelled", "system"), ("CRASHED", "Failed", "crash")
    assert list(ends.values()) == [cancelled, cancelled, crashed]


@pytest.mark.usefixtures("folder")
def test_what_the_server_has_deleted_holds_nothing_else_up(
    told: Told, client: Client, kill: Kill, disk: SharedDisk, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "GRACE", 0)
    runs = [kill("alone") for _ in range(4)]
    for run in runs[:3]:
        client.delete_flow_run(run.id)
    haas_otel.reconcile()
    ends = [one.attributes["task.status"] for run in runs for one in told.of(run)]
    assert ends == ["Failed"] * 4
    assert disk.lost() == []


@pytest.mark.parametrize("state", [Cancelling(), Pending(), Running()])
def test_a_flow_run_that_no_process_goes_on_with_frees_its_slot(
    told: Told, client: Client, disk: SharedDisk, folder: Path, state: Any
) -> None:
    """It died before its first task, or its worker before it had begun."""
    by_itself = client.create_flow_run(ends_well, state=state)
    of_a_worker = client.create_flow_run(ends_well, state=state)
    left = folder / "journal" / "1-dead-1.jsonl"
    left.parent.mkdir(exist_ok=True)
    left.write_text(
        f'>flow {by_itself.id}\t{{"flow_run_id":"{by_itself.id}","root_id":"{by_itself.id}",'
        f'"start":1,"api":"{records.api()}"}}\n'
        f'>{records.HELD(of_a_worker.id)}\t{{"flow_run_id":"{of_a_worker.id}","start":1,'
        f'"api":"{records.api()}"}}\n'
    )
    os.utime(left, ns=(time.time_ns() + SECOND - 30 * SECOND,) * 2)
    haas_otel.reconcile()
    for run in (by_itself, of_a_worker):
        after = client.read_flow_run(run.id).state
        assert after is not None
        if state.is_cancelling():
            assert after.is_cancelled()
        else:  # since the death it has another process
            assert after.type == state.type

    assert str(by_itself.id) not in {s.attributes["prefect.flow_run.id"] for s in told.task_spans}


def test_a_click_ends_nothing_while_the_process_lives(
    told: Told, client: Client, kill: Kill, killed_runs: Any, folder: Path
) -> None:
    process = killed_runs._programs.start("alone", "1")
    run_id = UUID(process.stdout.readline().strip())
    wait_until(lambda: [r for r in task_runs(client, client.read_flow_run(run_id)) if r.state])
    by_hand = (Failed(), Cancelled(), Completed(), AwaitingRetry(), Pending(), Paused())
    for state in (*by_hand, Crashed(message="a click")):
        run = client.read_flow_run(run_id)
        stopped(client, run, state)
        long_ago(folder)
        haas_otel.reconcile()
    assert [s for s in told.task_spans if s.attributes["prefect.flow_run.id"] == str(run_id)] == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopped(client, client.read_flow_run(run_id), Crashed(message="a click"))
    assert told.task_spans[-1].attributes["prefect.flow_run.id"] == str(run_id)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize(("state", "status"), [(Cancelling, "Cancelled"), (Crashed, "Failed")])
def test_a_pause_does_not_end_an_attempt(
    told: Told, client: Client, kill: Kill, state: Any, status: str
) -> None:
    """Though the server counts another run of a flow run that is resumed in its process."""
    run = kill("alone")
    client.set_flow_run_state(run.id, Paused(timeout_seconds=300), force=True)
    client.resume_flow_run(run.id)
    assert client.read_flow_run(run.id).run_count == 2
    stopped(client, run, state())
    assert told.one.attributes["task.status"] == status


def test_a_machine_that_is_gone_is_spoken_for_by_a_second_pass(
    told: Told, client: Client, kill: Kill, monkeypatch: MonkeyPatch
) -> None:
    """By records alone."""
    run = kill("top")

    def mine(ids: list[UUID]) -> list[ReadableSpan]:
        found = [s for s in told.task_spans if s.attributes["task.name"].startswith("Killed in")]
        return [s for s in found if UUID(str(s.attributes["task.id"])) in ids]

    client.set_flow_run_state(run.id, Crashed(message="flagged"), force=True)
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", "3600")
    assert run.id not in haas_otel.reconcile().suspected  # a sign lately
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", "1")
    time.sleep(1.1)
    assert run.id in haas_otel.reconcile().suspected
    assert mine(haas_otel.reconcile().task_runs) == []  # suspected a moment ago
    monkeypatch.setattr(decision, "HEARTBEAT", 0)
    (one,) = mine(haas_otel.reconcile().task_runs)
    assert one.attributes["task.status"] == "Failed"
    assert one.status.description == "flagged"
    assert events(one) == ["task.started", "task.retrying", "task.retrying", "task.failed"]

    requests = []
    send = SyncPrefectClient.request
    monkeypatch.setattr(
        SyncPrefectClient,
        "request",
        lambda self, *a, **k: requests.append(a[:2]) or send(self, *a, **k),
    )
    assert run.id not in haas_otel.reconcile().flow_runs
    assert str(run.id) not in str(requests)


def test_what_a_task_worker_runs_is_not_gone_with_the_machine_of_its_flow(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """Its process is another one, which may live."""
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", "1")
    monkeypatch.setattr(decision, "HEARTBEAT", 0)
    monkeypatch.setattr(span, "live", {})  # the passes are another machine's

    @task
    def later() -> None:
        own = TaskRunContext.get().task_run
        wait_until(lambda: client.read_task_run(own.id).state_type == StateType.RUNNING)
        time.sleep(1.1)
        for _ in range(2):
            haas_otel.reconcile()

    @flow
    def fails() -> None:
        ids.append(later.delay().task_run_id)
        raise LookupError

    ids: list[UUID] = []
    assert fails(return_state=True).is_failed()
    (left,) = ids
    waiting = client.read_task_run(left)
    Context().run(run_task_sync, later, task_run_id=left, task_run=waiting, parameters={})
    (one,) = [each for each in told.task_spans if each.attributes["task.id"] == str(left)]
    assert one.attributes["task.status"] == "Completed"


@pytest.mark.parametrize(
    ("state", "heartbeats", "ended"),
    [
        (Pending(), False, "CRASHED"),
        (Cancelling(), False, "CANCELLED"),
        (Running(), False, "RUNNING"),
        (Running(), True, "CRASHED"),
    ],
)
def test_a_run_of_a_machine_that_is_gone_frees_its_slot(
    told: Told, client: Client, monkeypatch: MonkeyPatch, state: Any, heartbeats: bool, ended: str
) -> None:
    """It never had a process; one that is Running may have, if it need not send heartbeats."""
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", "1")
    monkeypatch.setattr(decision, "HEARTBEAT", 0)
    jobs = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}} if heartbeats else None
    run = client.create_flow_run(ends_well, tags=["ours"], state=state, job_variables=jobs)
    other = client.create_flow_run(ends_well, tags=["theirs"], state=state, job_variables=jobs)
    time.sleep(1.1)
    for _ in range(2):
        haas_otel.reconcile(tags=["ours"])
    after, others = (client.read_flow_run(each.id).state for each in (run, other))
    assert others.type == state.type
    assert after.type.value == ended
    assert told.task_spans == []


def test_who_was_out_of_touch_for_too_long_stays_silent(
    told: Told, client: Client, disk: SharedDisk, monkeypatch: MonkeyPatch, caplog: LogCapture
) -> None:
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", "1")

    @task
    def frozen(spoken_for: bool) -> None:
        time.sleep(1.1)
        task_run = haas_otel.decorators.TaskRunContext.get().task_run
        if spoken_for:
            marks = records.spoken_for([task_run.id], "another")
            client.update_flow_run_labels(task_run.flow_run_id, marks)

    @flow
    def thaws(spoken_for: bool) -> None:
        frozen(spoken_for)

    thaws(True)
    assert told.task_spans == []
    assert "took this one for gone" in caplog.text
    thaws(False)
    assert told.one.attributes["task.status"] == "Completed"
    assert disk.living() == []


def test_a_forked_child_ends_nothing_of_its_parents(told: Told, disk: SharedDisk) -> None:
    @task
    def forks() -> str:
        child = os.fork()
        if child == 0:
            task_run = haas_otel.decorators.TaskRunContext.get().task_run
            hooks.note_retry(task_run, Failed())  # else its record would be left as a dead one's
            noted = hooks.live[task_run.id].retries
            hooks.haas_otel_on_end(forks, task_run, Failed())
            hooks.haas_otel_on_running(forks, task_run, task_run.state)
            hooks.end_left_at_exit()
            os._exit(len(told.spans) + len(noted))
        return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert forks() == "0"
    assert told.one.attributes["task.status"] == "Completed"


def test_what_is_left_without_a_state_is_marked(told: Told, client: Client) -> None:
    """A suspended flow run: Prefect leaves the task run in whose body it was noticed Running."""

    @task
    def outer() -> None:
        raise Pause(state=Paused(name="Suspended"))

    @flow
    def suspended() -> None:
        outer()

    with pytest.raises(Pause):
        suspended()
    assert is_marked(client, told.one)


def test_a_flow_run_that_is_suspended_between_two_attempts(
    told: Told, client: Client, monkeypatch: MonkeyPatch
) -> None:
    """Its process knows how they ended, and calls no hook any more."""

    def suspended(engine: SyncTaskRunEngine[Any, Any]) -> None:
        if engine.state.name == "AwaitingRetry":
            raise Pause(state=Paused(name="Suspended"))

    monkeypatch.setattr(SyncTaskRunEngine, "wait_until_ready", suspended)

    @task(retries=1, retry_delay_seconds=60)
    def fails() -> None:
        raise ConnectionError("refused")

    @flow
    def around() -> None:
        fails()

    with pytest.raises(Pause):
        around()
    hooks.end_left_at_exit()
    assert told.one.attributes["task.status"] == "Cancelled"
    assert told.one.attributes["prefect.ended_by"] == "self"
    assert is_marked(client, told.one)


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
    assert is_marked(client, told.one)


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
    alone, an_id = running.run, running.task_run.id
    running.run = alone._replace(flow_run_id=an_id, root_id=an_id)
    hooks.end_left_at_exit()
    assert told.task_spans == []
    running.run = alone
    hooks.end_left_at_exit()
    assert told.one.attributes["task.status"] == "Cancelled"
    assert called == ["Cancelled"]


def test_switched_off(told: Told, client: Client, monkeypatch: MonkeyPatch) -> None:
    run = client.create_flow_run(ends_well)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setattr("haas_otel.server.get_client", None)
    hooks.haas_otel_on_begun(ends_well, run, Running())
    hooks.haas_otel_on_ended(ends_well, run, Crashed())
    assert haas_otel.reconcile().flow_runs == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_moments_are_exact_to_their_microsecond(zone: str) -> None:
    moment = datetime(2111, 4, 13, 16, 22, 54, 605861, tzinfo=ZoneInfo(zone))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert span.nanoseconds(moment) == since // timedelta(microseconds=1) * 1000
    assert span.nanoseconds(moment.astimezone(UTC)) == span.nanoseconds(moment)


@pytest.mark.parametrize(("mark", "counted"), [("late", 1), ("refused", 0)])
def test_what_never_began_is_counted_once_though_its_process_could_not_say_so(
    client: Client,
    told: Told,
    tmp_path: Path,
    monkeypatch: MonkeyPatch,
    mark: str,
    counted: int,
) -> None:
    """The server had no answer for it in time; or the collector did not take the count."""
    sent: list[tuple[str, str]] = []
    tag = f"counted-{uuid4()}"
    taken = [mark == "late"]

    def send(flow_name: str, reason: str) -> bool:
        if taken[-1]:
            sent.append((flow_name, reason))
        return taken[-1]

    def no_answer(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(history, "load_send", lambda: send)
    run = client.create_flow_run(ends_well, tags=[tag])
    message = "Validation of flow parameters failed with error: x"
    client.set_flow_run_state(run.id, Failed(message=message), force=True)
    dies = Journal(tmp_path)
    monkeypatch.setattr(records, "disk", lambda: SharedDisk(dies))
    with monkeypatch.context() as slow:
        slow.setattr(Server, "mark", no_answer)
        history.count_own(run.id)
    assert len(sent) == counted

    def reconcile() -> None:
        monkeypatch.setattr(records, "disk", lambda: SharedDisk(Journal(tmp_path)))
        haas_otel.reconcile(tags=[tag])

    taken.append(True)
    if counted:  # its process is still at it
        reconcile()
        assert records.COUNTED not in client.read_flow_run(run.id).labels
    dies.close()
    for _ in range(2):
        reconcile()
    assert sent == [("ends-well", "refused_parameters")]
    assert client.read_flow_run(run.id).labels[records.COUNTED] == "refused_parameters"
