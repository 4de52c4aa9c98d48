"""The reconciler: ends the spans that no process was left to end, and sends what waits on disk."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from __future__ import annotations

from datetime import timedelta
from time import sleep
from typing import TYPE_CHECKING, Annotated

from prefect import get_run_logger
from pydantic import Field

from flows.again import run_again
from flows.forms import field
from flows.why import explain_ended
from haas_media.wording import counted
from haas_otel import flow

if TYPE_CHECKING:
    from haas_otel import Reconciled

# It has no tasks, and so leaves no span: it looks after those of others. Its run leaves a record
# on disk as all of ours do. Else one that lost power would be Running for a quarter of an hour, and
# its deployment would take no other.


Days = Annotated[float, Field(gt=0, le=90)]

PASSES = 3
TAGS = ("haas-media",)  # of every deployment of ours


@flow(name="reconcile-spans", flow_run_name="reconcile spans", log_prints=False)
def reconcile_spans_flow(
    lookback_days: Days = field(
        7.0,
        title="Look back (days)",
        description="How long ago a run may have ended to be looked at.",
    ),
) -> dict[str, int]:
    """Settle flow runs that nobody settled; deliver spans that are still on this disk."""
    from prefect.client.orchestration import get_client

    from haas_otel.delivery import deliver_pending

    log = get_run_logger()
    passes = [_look(lookback_days)]
    while passes[-1].look_again and len(passes) < PASSES:
        # A server that was away has heard nothing of runs that live: since it is back each has
        # told it of itself again, by then. And a worker is left to say how its run died.
        log.info("Looking again in %d s: some runs give no sign", passes[-1].look_again)
        sleep(passes[-1].look_again)
        passes.append(_look(lookback_days))
    flow_runs = sum(len(each.flow_runs) for each in passes)
    spans = sum(len(each.task_runs) for each in passes)
    delivered = deliver_pending(timedelta(seconds=30))
    with get_client(sync_client=True) as client:
        again = run_again(client)
        explained = explain_ended(client, TAGS)
    log.info(
        "%s settled, %s ended, %s delivered from disk, %s again, %s explained",
        counted(flow_runs, "flow run"),
        counted(spans, "span"),
        counted(delivered, "span"),
        counted(len(again), "run"),
        counted(len(explained), "run"),
    )
    return {"flow_runs": flow_runs, "spans": spans, "delivered": delivered}


def _look(lookback_days: float) -> Reconciled:
    from haas_otel import reconcile

    return reconcile(lookback=timedelta(days=lookback_days), tags=TAGS)
