"""What Prefect's server says of runs, and what is said to it.

Nothing here decides: it is one of the places from which evidence comes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from haas_otel import labels, records
from haas_otel.decision import FlowEnd
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from haas_otel.span import Run

PAGE = 200  # the server's largest page
BOUND = 2.0  # seconds that a hook may wait for the server
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# Of a task run: its own process has reported its end.
_REPORTED = {StateType.COMPLETED, StateType.FAILED}
_HOW = {StateType.COMPLETED: "Completed", StateType.FAILED: "Failed", StateType.CRASHED: "Crashed"}


class Server:
    """A Prefect server as seen through a client. Every method may raise what the client does."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def flow_run(self, flow_run_id: UUID) -> FlowRun | None:
        """Return a flow run as it is now; None when the server does not have it."""
        with contextlib.suppress(ObjectNotFound):
            return self._client.read_flow_run(flow_run_id)
        return None

    def task_run(self, task_run_id: UUID) -> TaskRun | None:
        """Return a task run as it is now; None when the server does not have it."""
        with contextlib.suppress(ObjectNotFound):
            return self._client.read_task_run(task_run_id)
        return None

    def flow_end(self, flow_run_id: UUID, since: int) -> FlowEnd | None:
        """Return how the attempt of a flow run ended that went on at ``since``, None if it has not.

        One that was paused goes on in the same attempt. What somebody has set by hand before
        counts, too: the process may begin a task run after that.
        """
        end: FlowEnd | None = None
        for state in sorted(self._client.read_flow_run_states(flow_run_id), key=_moment):
            begins = state.is_scheduled() or state.is_pending() or state.is_running()
            over = end is not None and end.final
            if begins and _moment(state) < since:
                end = None if over else end
            elif begins and end is not None and over:
                return end._replace(next_attempt=_moment(state))
            elif state.is_final() or state.is_cancelling() or state.name == "AwaitingRetry":
                # Once cancelled it is cancelled, whatever is made of it when it has ended.
                cancelled = bool(end and end.how == "Cancelled")
                how = "Cancelled" if cancelled else _HOW.get(state.type, "Cancelled")
                waits = state.name == "AwaitingRetry"
                end = FlowEnd(
                    cast("Any", "Failed" if waits and not cancelled else how),
                    _moment(state),
                    None if waits else state.message,
                    final=state.is_final() or waits,
                )
        return end

    def outermost(self, flow_run: FlowRun) -> FlowRun:
        """Return the outermost of the flow runs in whose process a flow run goes on."""
        while flow_run.parent_task_run_id is not None and flow_run.deployment_id is None:
            parent = self.task_run(flow_run.parent_task_run_id)
            outer = self.flow_run(parent.flow_run_id) if parent and parent.flow_run_id else None
            if outer is None:
                break
            flow_run = outer
        return flow_run

    def task_runs(self, flow_run_id: UUID) -> list[TaskRun]:
        """Return the task runs of ours in a flow run that have started."""
        return self._task_runs(
            flow_run_filter=filters.FlowRunFilter(
                id=filters.FlowRunFilterId(any_=[flow_run_id]),
            )
        )

    def unreported(self, lookback: timedelta) -> list[TaskRun]:
        """Return the task runs of ours that began lately and whose process reported no end."""
        any_ = [each for each in StateType if each not in _REPORTED]
        after = cast("Any", datetime.now(UTC) - lookback)
        found = self._task_runs(
            task_run_filter=filters.TaskRunFilter(
                state=filters.TaskRunFilterState(type=filters.TaskRunFilterStateType(any_=any_)),
                start_time=filters.TaskRunFilterStartTime(after_=after),
            )
        )
        return [run for run in found if run.flow_run_id and labels.ENDED not in run.labels]

    def open_flow_runs(self) -> list[FlowRun]:
        """Return the flow runs that are Pending, Running or Cancelling."""
        going_on = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=_OPEN))
        return _pages(
            self._client.read_flow_runs,
            flow_run_filter=filters.FlowRunFilter(state=going_on),
            sort=FlowRunSort.START_TIME_DESC,
        )

    def last_sign(self, flow_run: FlowRun) -> tuple[int, int]:
        """Return a flow run's newest event or state in ns, and its newest heartbeat or 0."""
        newest = self._newest_event(flow_run.id, "prefect.flow-run.")
        heartbeat = self._newest_event(flow_run.id, "prefect.flow-run.heartbeat")
        changed = _moment(flow_run.state) if flow_run.state else 0
        return max(newest, heartbeat, changed), heartbeat

    def mark(self, flow_run_id: UUID, marks: dict[str, Any]) -> None:
        """Put marks on a flow run's labels."""
        self._client.update_flow_run_labels(flow_run_id, marks)

    def stop(self, flow_run: FlowRun, reason: str) -> bool:
        """Set a flow run that has no process Crashed, or Cancelled if it was being cancelled.

        Return whether the server took it.
        """
        cancelling = bool(flow_run.state and flow_run.state.is_cancelling())
        new: State[Any] = Cancelled(message=reason) if cancelling else Crashed(message=reason)
        result = self._client.set_flow_run_state(flow_run.id, new, force=cancelling)
        return result.status.value == "ACCEPT"

    def _task_runs(self, **query: Any) -> list[TaskRun]:
        read, sort = self._client.read_task_runs, TaskRunSort.END_TIME_DESC
        found: list[TaskRun] = _pages(read, **query, sort=sort)
        return [run for run in found if labels.TASK_TYPE in run.labels and run.start_time]

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


def within_bound(work: Callable[[Server], Any]) -> Any:
    """Do something with the server, and return its result; None if it fails or takes too long.

    What takes too long goes on in the background, until the process ends.
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
    return result[0] if result else None


def who_spoke_for(run: Run) -> str | None:
    """Return the machine, other than this, that ended a task run's span.

    None if the server knows of none, or does not say in time.
    """
    flow_run = within_bound(lambda server: server.flow_run(cast("UUID", run.flow_run_id)))
    machine = labels.spoken_for_by(flow_run.labels, run.task_run_id) if flow_run else None
    disk = records.disk()
    return machine if machine and machine != (disk.machine if disk else None) else None


def _pages(read: Callable[..., list[Any]], **query: Any) -> list[Any]:
    found: list[Any] = []
    while len(page := read(**query, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return found + page


def _moment(state: State[Any]) -> int:
    return nanoseconds(state.timestamp)
