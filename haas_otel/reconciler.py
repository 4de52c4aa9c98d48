"""The reconciler: what no process was left to settle, settled from the API alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from haas_otel import labels, span
from haas_otel.settling import pages, settle_flow_run

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

# A Completed flow run saw its task runs end. The others may have left some.
_LEFT_BEHIND = [StateType.CRASHED, StateType.CANCELLED, StateType.FAILED]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a pass did: the flow runs it settled, and the task runs whose spans it ended."""

    flow_runs: tuple[UUID, ...]
    task_runs: tuple[UUID, ...]


def reconcile(
    *, lookback: timedelta = timedelta(days=7), quiet: timedelta = timedelta(minutes=1)
) -> Reconciled:
    """Settle the ended flow runs that nobody settled, and mark them so on their labels.

    Args:
        lookback: how long ago a flow run may have ended to be looked at.
        quiet: how long ago it must have ended, so that its last records have reached the server.

    Idempotent. Let one run at a time, on whatever machine: two that look at the same moment may
    both tell what neither has marked yet. With nothing to do it makes one request for each 200 flow
    runs that failed, crashed or were cancelled within ``lookback``.
    """
    if not span.enabled():
        return Reconciled((), ())
    settled: list[UUID] = []
    ended: list[UUID] = []
    now = datetime.now(UTC)
    stopped = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_LEFT_BEHIND)),
        end_time=FlowRunFilterEndTime(
            after_=cast("Any", now - lookback), before_=cast("Any", now - quiet)
        ),
    )
    with get_client(sync_client=True) as client:
        for flow_run in pages(
            client.read_flow_runs, flow_run_filter=stopped, sort=FlowRunSort.END_TIME_DESC
        ):
            if _is_settled(flow_run) or flow_run.state is None:
                continue
            result = settle_flow_run(client, flow_run, flow_run.state)
            ended += result.ended
            if not result.going_on:
                client.update_flow_run_labels(flow_run.id, {labels.SETTLED: flow_run.run_count})
                settled.append(flow_run.id)
    return Reconciled(tuple(settled), tuple(ended))


def _is_settled(flow_run: FlowRun) -> bool:
    attempt = flow_run.labels.get(labels.SETTLED, 0)
    return isinstance(attempt, int) and attempt >= flow_run.run_count
