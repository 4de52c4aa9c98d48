"""The flow's part: its start record, and what is left to be ended when it ends.

Prefect runs a flow's ``on_cancellation`` and ``on_crashed`` hooks in whatever process is at hand:
the run's own, a short-lived third one, or the runner's.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.context import FlowRunContext

from haas_otel import hooks, reconciler, records, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

# The modules by which Prefect starts a flow run's own process, and no other.
_ENGINES = {"prefect.engine", "prefect.flow_engine"}
# The flow runs that this process runs, with its id: a forked child has its parent's.
_begun: dict[UUID, int] = {}


def note_process() -> None:
    """Leave the start record of this process's flow run: it may die before the run begins."""
    own = os.environ.get("PREFECT__FLOW_RUN_ID")
    if own and span.enabled() and _ENGINES & set(sys.orig_argv):
        _begin(UUID(own), UUID(own))


def haas_otel_on_begun(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Set up where no application does, and leave the flow run's start record."""
    if not span.enabled():
        return
    span.remember_caller(flow_run)
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        span.tracer()  # the first task would do it: now, what is logged before is sent, too
    outer = FlowRunContext.get()
    parent = outer.flow_run if outer and outer.flow_run else flow_run
    _begin(flow_run.id, span.outermost(parent.id))


def haas_otel_on_ended(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> hooks.Later | None:
    """End what is left in this process when a flow run is Completed or Failed."""
    later = hooks.end_left(flow_run.id)
    _end(flow_run.id)
    return _all(later) if later else None


def haas_otel_on_stopped(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> hooks.Later | None:
    """End what a flow run has left that was cancelled or has crashed, in whatever process."""
    if not span.enabled():
        return None
    span.remember_caller(flow_run)
    later = hooks.end_left(flow_run.id)
    if _end(flow_run.id):  # what its own process has ended needs no request
        return _all(later) if later else None
    reconciler.settle_stopped(flow_run.id)
    return None


FLOW_HOOKS: dict[str, Callable[..., Any]] = {
    "on_running": haas_otel_on_begun,
    "on_completion": haas_otel_on_ended,
    "on_failure": haas_otel_on_ended,
    "on_cancellation": haas_otel_on_stopped,
    "on_crashed": haas_otel_on_stopped,
}


def _begin(flow_run_id: UUID, root: UUID) -> None:
    _begun[flow_run_id] = os.getpid()
    span.outermost_of[flow_run_id] = root
    if disk := records.disk():
        disk.begin(_key(flow_run_id), records.of_flow(flow_run_id, root, time.time_ns()))


def _end(flow_run_id: UUID) -> bool:
    """Close a flow run's start record, and say whether it was this process's."""
    mine = _begun.get(flow_run_id) == os.getpid()
    if mine:
        del _begun[flow_run_id]
        span.outermost_of.pop(flow_run_id, None)
        if disk := records.disk():
            disk.end(_key(flow_run_id))
    return mine


def _key(flow_run_id: UUID) -> str:
    return f"flow {flow_run_id}"


async def _all(later: list[hooks.Later]) -> None:
    for each in later:
        await each
