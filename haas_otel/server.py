"""What Prefect's server says of runs, and what is said to it.

Nothing here decides: it is one of the places from which evidence comes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from haas_otel import labels, records
from haas_otel.decision import FlowEnd
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from haas_otel.span import Run

PAGE = 200  # the server's largest page
EVENTS = 50  # its largest page of events
BOUND = 2.0  # seconds that a hook may wait for the server
# A Completed flow run saw its task runs end. The others may have left some.
_ENDED = [StateType.CRASHED, StateType.CANCELLED, StateType.FAILED]
_RETRIED = "prefect.flow-run.AwaitingRetry"
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


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
        history = sorted(self._client.read_flow_run_states(flow_run_id), key=_moment)
        end: FlowEnd | None = None
        for state in history:
            over = end is not None and end.final
            if _begins_an_attempt(state) and _moment(state) < since:
                end = None if over else end
                continue
            if _begins_an_attempt(state) and end is not None and over:
                return end._replace(next_attempt=_moment(state))
            if state.is_final() or state.is_cancelling() or state.name == "AwaitingRetry":
                stopped = state.is_cancelling() or state.is_cancelled()
                waits = state.name == "AwaitingRetry"
                # Once cancelled it is cancelled, whatever is made of it when it has ended.
                end = FlowEnd(
                    stopped or bool(end and end.cancelled),
                    _moment(state),
                    None if waits else state.message,
                    final=state.is_final() or waits,
                    crashed=state.is_crashed(),
                )
        return end

    def nested(self, flow_run: FlowRun) -> Iterator[FlowRun]:
        """Yield a flow run and those that are nested in its process."""
        yield flow_run
        parents = [flow_run.id]
        while parents:
            within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents))
            found = pages(self._client.read_flow_runs, flow_run_filter=within)
            # A child with a deployment has a process and hooks of its own.
            inner = [run for run in found if run.deployment_id is None]
            yield from inner
            parents = [run.id for run in inner]

    def task_runs(self, flow_run: FlowRun) -> list[TaskRun]:
        """Return the task runs of ours in a flow run that have started."""
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        found = pages(
            self._client.read_task_runs, flow_run_filter=mine, sort=TaskRunSort.END_TIME_DESC
        )
        return [run for run in found if labels.TASK_TYPE in run.labels and run.start_time]

    def ended_flow_runs(self, lookback: timedelta) -> list[FlowRun]:
        """Return the flow runs that crashed, failed or were cancelled lately."""
        after = cast("Any", datetime.now(UTC) - lookback)
        return pages(
            self._client.read_flow_runs,
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED)),
                end_time=FlowRunFilterEndTime(after_=after),
            ),
            sort=FlowRunSort.END_TIME_DESC,
        )

    def retried_flow_runs(self, lookback: timedelta) -> list[FlowRun]:
        """Return the flow runs that were retried lately, and completed.

        No record says so but the events: an earlier attempt may have left task runs.
        """
        since, until = datetime.now(UTC) - lookback, datetime.now(UTC)
        retried: set[UUID] = set()
        events: list[Any] = [None] * EVENTS
        while len(events) == EVENTS:
            occurred = {"since": since.isoformat(), "until": until.isoformat()}
            events = self._events(EVENTS, event={"name": [_RETRIED]}, occurred=occurred)
            retried |= {UUID(each["resource"]["prefect.resource.id"][-36:]) for each in events}
            if events:
                until = datetime.fromisoformat(events[-1]["occurred"]) - timedelta(microseconds=1)
        if not retried:
            return []
        completed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
        return pages(
            self._client.read_flow_runs,
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=sorted(retried)), state=completed
            ),
            sort=FlowRunSort.END_TIME_DESC,
        )

    def open_flow_runs(self) -> list[FlowRun]:
        """Return the flow runs that are Pending, Running or Cancelling."""
        going_on = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
        return pages(
            self._client.read_flow_runs,
            flow_run_filter=FlowRunFilter(state=going_on),
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
        state = flow_run.state
        cancelling = state is not None and state.is_cancelling()
        new: State[Any] = Cancelled(message=reason) if cancelling else Crashed(message=reason)
        result = self._client.set_flow_run_state(flow_run.id, new, force=cancelling)
        return result.status.value == "ACCEPT"

    def _newest_event(self, flow_run_id: UUID, name: str) -> int:
        resource = {"id": [f"prefect.flow-run.{flow_run_id}"]}
        events = self._events(1, resource=resource, event={"prefix": [name]})
        return nanoseconds(datetime.fromisoformat(events[0]["occurred"])) if events else 0

    def _events(self, limit: int, **having: Any) -> list[Any]:
        query = {"limit": limit, "filter": {**having, "order": "DESC"}}
        response = self._client.request("POST", "/events/filter", json=query)
        return cast("list[Any]", response.json()["events"])


def pages(read: Callable[..., list[Any]], **query: Any) -> list[Any]:
    """Return all that a reading of the API finds: one request a page, the last not a full one."""
    found: list[Any] = []
    while len(page := read(**query, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return found + page


@contextlib.contextmanager
def connected() -> Iterator[Server]:
    """Open a connection to the server of this process's settings."""
    with get_client(sync_client=True) as client:
        yield Server(client)


def within_bound(work: Callable[[], Any]) -> Any:
    """Do something with the server, and return its result; None if it fails or takes too long.

    What takes too long goes on in the background, until the process ends.
    """
    result: list[Any] = []

    def attempt() -> None:
        with contextlib.suppress(Exception):
            result.append(work())

    # With the caller's context: it holds Prefect's settings.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(attempt,), name="haas-otel-ask", daemon=True)
    thread.start()
    thread.join(BOUND)
    return result[0] if result else None


def mark_flow_run(flow_run_id: UUID, marks: dict[str, Any]) -> None:
    """Put marks on a flow run's labels, if the server answers in time."""

    def mark() -> None:
        with connected() as server:
            server.mark(flow_run_id, marks)

    within_bound(mark)


def who_spoke_for(run: Run) -> str | None:
    """Return the machine, other than this, that ended a task run's span.

    None if the server knows of none, or does not say in time.
    """

    def ask() -> str | None:
        with connected() as server:
            flow_run = server.flow_run(cast("UUID", run.flow_run_id))
            return labels.spoken_for_by(flow_run.labels, run.task_run_id) if flow_run else None

    machine = within_bound(ask)
    disk = records.disk()
    return machine if machine and machine != (disk.machine if disk else None) else None


def _begins_an_attempt(state: State[Any]) -> bool:
    return state.is_scheduled() or state.is_pending() or state.is_running()


def _moment(state: State[Any]) -> int:
    return nanoseconds(state.timestamp)
