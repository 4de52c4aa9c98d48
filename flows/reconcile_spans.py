"""The reconciler: ends the spans that no process was left to end, and sends what waits on disk."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from flows.forms import field
from haas_media.wording import counted

# A plain Prefect flow without tasks: it keeps house for spans and leaves none itself.


Days = Annotated[float, Field(gt=0, le=90)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


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
    """Settle ended flow runs that nobody settled; deliver spans that are still on this disk."""
    from haas_otel import reconcile
    from haas_otel.delivery import deliver_pending

    result = reconcile(
        lookback=timedelta(days=lookback_days), quiet=timedelta(seconds=quiet_seconds)
    )
    delivered = deliver_pending(timedelta(seconds=30))
    get_run_logger().info(
        "%s settled, %s ended, %s delivered from disk",
        counted(len(result.flow_runs), "flow run"),
        counted(len(result.task_runs), "span"),
        counted(delivered, "span"),
    )
    return {
        "flow_runs": len(result.flow_runs),
        "spans": len(result.task_runs),
        "delivered": delivered,
    }
