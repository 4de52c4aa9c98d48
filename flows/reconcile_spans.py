"""The reconciler: ends the spans that no process was left to end, and sends what waits on disk."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from __future__ import annotations

from datetime import timedelta
from time import sleep
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from pydantic import Field

from flows.forms import field
from haas_media.wording import counted

# A plain Prefect flow without tasks: it keeps house for spans and leaves none itself.


Days = Annotated[float, Field(gt=0, le=90)]
Seconds = Annotated[float, Field(ge=0, le=3600)]

LEAST_HEARTBEAT = 30  # seconds, Prefect's own bound


@flow(name="reconcile-spans", flow_run_name="reconcile spans", log_prints=False)
def reconcile_spans_flow(
    lookback_days: Days = field(
        7.0,
        title="Look back (days)",
        description="How long ago a run may have ended to be looked at.",
    ),
    quiet_seconds: Seconds = field(
        60.0,
        title="Leave alone (seconds)",
        description="Runs that ended less than this ago wait for the next pass: their last "
        "records may still be on the way to the server.",
    ),
) -> dict[str, int]:
    """Settle flow runs that nobody settled; deliver spans that are still on this disk."""
    from haas_otel.delivery import deliver_pending

    log = get_run_logger()
    passes = [_look(lookback_days, quiet_seconds)]
    suspected = getattr(passes[0], "suspected", ())
    if suspected:
        # A server that was away has heard nothing of runs that live. Since it is back each has
        # told it of itself again, by then.
        heartbeats = 2 * (PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or LEAST_HEARTBEAT)
        log.info(
            "%s without a sign of life: looking again in %d s, after two heartbeats",
            counted(len(suspected), "run"),
            heartbeats,
        )
        sleep(heartbeats)
        passes.append(_look(lookback_days, quiet_seconds))
    flow_runs = sum(len(each.flow_runs) for each in passes)
    spans = sum(len(each.task_runs) for each in passes)
    delivered = deliver_pending(timedelta(seconds=30))
    log.info(
        "%s settled, %s ended, %s delivered from disk",
        counted(flow_runs, "flow run"),
        counted(spans, "span"),
        counted(delivered, "span"),
    )
    return {"flow_runs": flow_runs, "spans": spans, "delivered": delivered}


def _look(lookback_days: float, quiet_seconds: float) -> Any:
    from haas_otel import reconcile

    return reconcile(lookback=timedelta(days=lookback_days), quiet=timedelta(seconds=quiet_seconds))
