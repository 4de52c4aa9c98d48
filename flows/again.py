"""What the system cut off runs again, once: where its deployment says so, by a tag.

Cut off is what a stop by the system cancelled, and what died together with its worker. Not a run
that died alone, nor one that a person ended, nor one that is itself such a repetition.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from haas_otel import records
from haas_otel.decision import reason
from haas_otel.ended_by import by_message
from haas_otel.server import Server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

TAG = "runs-again"  # on deployments, whose runs inherit it
OF, BY = "haas.again.of", "haas.again.by"  # the two runs, each on the other
# Who settles what died with its worker says so; a worker that lives has other words.
DIED = reason(0).partition(":")[0]
LOOKBACK = timedelta(days=1)
_REFUSED = (400, 409, 422)  # for its parameters or job variables: the deployment is another by now


def run_again(client: SyncPrefectClient) -> list[FlowRun]:
    """Create a new run for each that was cut off; return them. Several may do it at once."""
    from prefect.client.schemas.objects import StateType

    ended = Server(client).ended(LOOKBACK, [TAG], [StateType.CANCELLED, StateType.CRASHED])
    again = [_again(client, run) for run in ended if _was_cut_off(run)]
    return [run for run in again if run is not None]


def _was_cut_off(run: FlowRun) -> bool:
    if run.state is None or run.deployment_id is None or {OF, BY} & set(run.labels):
        return False
    # A server that was slow has not taken the label; the state came later, and says it, too.
    is_stopped = records.stopped_with(run) is not None or by_message(run.state.message) == "system"
    # One that a person was cancelling when it died is Cancelled.
    return is_stopped or (run.state.is_crashed() and str(run.state.message).startswith(DIED))


def _again(client: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    from httpx import HTTPStatusError
    from prefect.exceptions import ObjectNotFound

    assert run.deployment_id is not None  # noqa: S101 - it was looked at
    try:
        new = client.create_flow_run_from_deployment(
            run.deployment_id,
            parameters=run.parameters,
            job_variables=run.job_variables,
            tags=run.tags,
            labels={OF: str(run.id)},
            idempotency_key=f"again {run.id}",  # the same run, whoever asks for it
        )
    except ObjectNotFound:
        return None  # its deployment was deleted
    except HTTPStatusError as error:
        if error.response.status_code not in _REFUSED:
            raise
        client.update_flow_run_labels(run.id, {BY: ""})  # it is asked once
        why = error.response.json().get("detail", error)
        _log(client, run, f"The system cut this run off, and its deployment refuses it now: {why}")
        return None
    client.update_flow_run_labels(run.id, {BY: str(new.id)})
    _log(client, run, f"The system cut this run off: it runs again as {new.name} ({new.id}).")
    _log(client, new, f"This is {run.name} ({run.id}) again, which the system cut off.")
    return new


def _log(client: SyncPrefectClient, run: FlowRun, message: str) -> None:
    import logging

    from prefect.client.schemas.actions import LogCreate

    now: Any = datetime.now(UTC)
    line = LogCreate(
        name="haas_media.again",
        level=logging.INFO,
        message=message,
        timestamp=now,
        flow_run_id=run.id,
    )
    client.create_logs([line])
