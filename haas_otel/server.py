"""What Prefect's server says of runs, and what is said to it.

Nothing here decides: it is one of the places from which evidence comes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from httpx import HTTPStatusError, codes
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from haas_otel import records
from haas_otel.decision import FlowEnd
from haas_otel.ended_by import by_message
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from haas_otel.ended_by import By

PAGE = 200  # the server's largest page
HEARTBEAT_FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
BOUND = 2.0  # seconds that a hook may wait for the server
BADLY = [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# Of a task run: its own process has reported its end.
_REPORTED = {StateType.COMPLETED, StateType.FAILED}
_HOW = {StateType.COMPLETED: "Completed", StateType.FAILED: "Failed", StateType.CRASHED: "Crashed"}


class Server:
    """A Prefect server as seen through a client. Every method may raise what the client does."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def flow_run(self, flow_run_id: UUID | None) -> FlowRun | None:
        """Return a flow run as it is now; None when the server does not have it."""
        with contextlib.suppress(ObjectNotFound):
            return self._client.read_flow_run(flow_run_id) if flow_run_id else None
        return None

    def task_run(self, task_run_id: UUID) -> TaskRun | None:
        """Return a task run as it is now; None when the server does not have it."""
        with contextlib.suppress(ObjectNotFound):
            return self._client.read_task_run(task_run_id)
        return None

    def flow_end(
        self, flow_run_id: UUID | None, since: int, told: State[Any] | None = None
    ) -> FlowEnd | None:
        """Return how the attempt of a flow run ended that went on at ``since``, None if it has not.

        One that was paused goes on in the same attempt. What somebody has set by hand before
        counts, too: the process may begin a task run after that. ``told`` is a state that the
        server may not have yet. Where there is none, a label may say that the system stopped it.
        """
        end: FlowEnd | None = None
        for state in sorted([*self.states(flow_run_id), *filter(None, [told])], key=_moment):
            at, waits = _moment(state), state.name == "AwaitingRetry"
            begins = state.is_scheduled() or state.is_pending() or state.is_running()
            over = end is not None and end.final
            if begins and at < since:
                end = None if over else end
            elif begins and end is not None and over:
                return end._replace(next_attempt=at)
            elif state.is_final() or state.is_cancelling() or waits:
                how = "Failed" if waits else _HOW.get(state.type, "Cancelled")
                by = by_message(state.message)
                # Once cancelled it is cancelled, whatever is made of it when it has ended.
                if end is not None and end.how == "Cancelled":
                    how, by = end.how, "system" if end.by == "system" else by
                message = None if waits else state.message
                end = FlowEnd(cast("Any", how), at, message, state.is_final() or waits, by=by)
        if end is None and (run := self.flow_run(flow_run_id)) and records.stopped_with(run):
            end = FlowEnd("Cancelled", since, final=False, by="system")
        return end

    def flow_name(self, flow_run: FlowRun) -> str:
        """Return the name of a run's flow."""
        return str(self._client.read_flow(flow_run.flow_id).name)

    def ended(
        self, lookback: timedelta, tags: Collection[str], types: Collection[StateType]
    ) -> list[FlowRun]:
        """Return the flow runs with one of these tags that lately ended as one of these."""
        wanted = {
            "tags": {"any_": [*tags]},
            "state": {"type": {"any_": [*types]}},
            "end_time": {"after_": datetime.now(UTC) - lookback},
        }
        lately, sort = FlowRunFilter.model_validate(wanted), FlowRunSort.END_TIME_DESC
        return pages(self._client.read_flow_runs, flow_run_filter=lately, sort=sort)

    def states(self, flow_run_id: UUID | None) -> list[State[Any]]:
        """Return the states that a flow run had; none of None."""
        return self._client.read_flow_run_states(flow_run_id) if flow_run_id else []

    def outermost(self, flow_run: FlowRun) -> FlowRun:
        """Return the outermost of the flow runs in whose process a flow run goes on."""
        while flow_run.parent_task_run_id is not None and flow_run.deployment_id is None:
            parent = self.task_run(flow_run.parent_task_run_id)
            outer = self.flow_run(parent.flow_run_id) if parent else None
            if outer is None:
                break
            flow_run = outer
        return flow_run

    def task_runs(self, flow_run_id: UUID) -> list[TaskRun]:
        """Return the task runs of ours in a flow run that have started."""
        within = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
        return self._task_runs(flow_run_filter=within)

    def unreported(self, lookback: timedelta) -> list[TaskRun]:
        """Return the task runs of ours that began lately and whose process reported no end.

        Only of those that a flow run's process runs: no other is known to be gone.
        """
        state = {"type": {"any_": [each for each in StateType if each not in _REPORTED]}}
        lately = {"state": state, "start_time": {"after_": datetime.now(UTC) - lookback}}
        found = self._task_runs(task_run_filter=TaskRunFilter.model_validate(lately))
        told = {records.ENDED, records.DEFERRED}
        return [run for run in found if run.flow_run_id and told.isdisjoint(run.labels)]

    def started(self, lookback: timedelta) -> list[TaskRun]:
        """Return the task runs of ours that began lately."""
        lately = {"start_time": {"after_": datetime.now(UTC) - lookback}}
        return self._task_runs(task_run_filter=TaskRunFilter.model_validate(lately))

    def open_flow_runs(self) -> list[FlowRun]:
        """Return the flow runs that are Pending, Running or Cancelling."""
        open_ = FlowRunFilter.model_validate({"state": {"type": {"any_": _OPEN}}})
        newest_first = FlowRunSort.START_TIME_DESC
        return pages(self._client.read_flow_runs, flow_run_filter=open_, sort=newest_first)

    def last_sign(self, flow_run: FlowRun) -> tuple[int, int]:
        """Return a flow run's newest event or state in ns, and its newest heartbeat or 0."""
        newest = self._newest_event(flow_run.id, "prefect.flow-run.")
        heartbeat = self._newest_event(flow_run.id, "prefect.flow-run.heartbeat")
        changed = _moment(flow_run.state) if flow_run.state else 0
        return max(newest, heartbeat, changed), heartbeat

    def sends_heartbeats(self, flow_run: FlowRun) -> bool:
        """Say whether a flow run's process was told to send heartbeats, by its job's variables."""
        jobs = [flow_run.job_variables]
        with contextlib.suppress(ObjectNotFound):
            if flow_run.deployment_id:
                jobs += [self._client.read_deployment(flow_run.deployment_id).job_variables]
        return any(HEARTBEAT_FREQUENCY in ((job or {}).get("env") or {}) for job in jobs)

    def mark(self, flow_run_id: UUID | None, marks: dict[str, Any]) -> None:
        """Put marks on a flow run's labels, unless it has been deleted."""
        if flow_run_id is None:
            return
        try:
            self._client.update_flow_run_labels(flow_run_id, marks)
        except HTTPStatusError as error:
            if error.response.status_code != codes.NOT_FOUND:
                raise

    def stop(self, flow_run: FlowRun, reason: str, outermost: FlowEnd | None = None) -> bool:
        """Set a flow run that has no process Crashed, or Cancelled if it was being cancelled.

        So is one that is nested in what was: ``outermost`` is how that ended. Return whether the
        server took it.
        """
        cancelling = bool(flow_run.state and flow_run.state.is_cancelling())
        # Whoever was to say that may have had no answer in time, and is gone.
        if who := records.stopped_with(flow_run):
            reason = f"{who} was stopped by the system. {reason}"
        nested = outermost is not None and outermost.how == "Cancelled"
        state = Cancelled if cancelling or who or nested else Crashed
        new: State[Any] = state(message=reason)
        result = self._client.set_flow_run_state(flow_run.id, new, force=cancelling)
        return result.status.value == "ACCEPT"

    def crash_alone(self, task_run_id: UUID, reason: str) -> None:
        """Set a task run without a flow, whose process has died, Crashed."""
        found = self.task_run(task_run_id)
        if found is not None and found.state is not None and not found.state.is_final():
            self._client.set_task_run_state(task_run_id, Crashed(message=reason), force=True)

    def _task_runs(self, **query: Any) -> list[TaskRun]:
        read, sort = self._client.read_task_runs, TaskRunSort.END_TIME_DESC
        found: list[TaskRun] = pages(read, **query, sort=sort)
        return [run for run in found if records.TASK_TYPE in run.labels and run.start_time]

    def _newest_event(self, flow_run_id: UUID, name: str) -> int:
        resource = {"id": [f"prefect.flow-run.{flow_run_id}"]}
        having = {"resource": resource, "event": {"prefix": [name]}, "order": "DESC"}
        query = {"limit": 1, "filter": having}
        events = self._client.request("POST", "/events/filter", json=query).json()["events"]
        return nanoseconds(datetime.fromisoformat(events[0]["occurred"])) if events else 0


@contextlib.contextmanager
def connected() -> Iterator[Server]:
    """Open a connection to the server of this process's settings."""
    with get_client(sync_client=True) as client:
        yield Server(client)


def within_bound(work: Callable[[Server], Any], *, late: Any = None) -> Any:
    """Do something with the server, and return its result; None if it fails.

    What takes too long goes on in the background, until the process ends, and ``late`` is returned.
    """
    result: list[Any] = []

    def attempt() -> None:
        with contextlib.suppress(Exception), connected() as server:
            result.append(work(server))

    # With the caller's context: it holds Prefect's settings.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(attempt,), name="haas-otel-ask", daemon=True)
    thread.start()
    thread.join(BOUND)
    if thread.is_alive():
        return late
    return result[0] if result else None


@cache  # a process with many task runs is cancelled once
def who_cancelled(flow_run_id: UUID | None) -> By:
    """Return who had a flow run cancelled.

    Who stops the run for the system says so on this machine's disk; the server may not have had an
    ear for it a moment before. A user needs the server for that: one that is busy may have been
    asked, one that cannot be reached has not.
    """
    key = records.STOP(flow_run_id)
    with contextlib.suppress(Exception):  # a disk that cannot be read: the server is asked
        living = disk.living() if (disk := records.disk()) else []
        if any(record.key == key for record in living):
            return "system"

    def by_label(server: Server) -> By:
        flow_run = server.flow_run(flow_run_id)
        return "system" if flow_run is None or records.stopped_with(flow_run) else "user"

    by: By | None = within_bound(by_label, late="user")
    return by or "system"


def pages(read: Callable[..., list[Any]], **query: Any) -> list[Any]:
    """Return all that a query of a client has, which the server hands out page by page."""
    found: list[Any] = []
    while len(page := read(**query, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return found + page


def _moment(state: State[Any]) -> int:
    return nanoseconds(state.timestamp)
