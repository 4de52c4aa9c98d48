"""Start a deployment's run and follow it."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from haas_otel.server import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Artifact, FlowRun

POLL_SECONDS = 0.4


def trigger(client: SyncPrefectClient, deployment: str, parameters: Mapping[str, Any]) -> FlowRun:
    """Start a run of a deployment, as the Prefect UI does.

    Args:
        client: a client of the server.
        deployment: its name, as ``flow/deployment``.
        parameters: those that differ from their defaults.
    """
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, parameters=dict(parameters))


def follow(
    client: SyncPrefectClient,
    run_id: UUID,
    on_change: Callable[[FlowRun, float], None],
    seconds: float,
) -> FlowRun:
    """Wait for the end of a run.

    Args:
        client: a client of the server.
        run_id: the run.
        on_change: called with the run as it is and its progress in percent.
        seconds: how long to wait.

    Raises:
        TimeoutError: it has not ended by then.
    """
    deadline = time.monotonic() + seconds
    while True:
        run = client.read_flow_run(run_id)
        on_change(run, progress_of(client, run_id))
        if run.state is not None and run.state.is_final():
            return run
        if time.monotonic() > deadline:
            raise TimeoutError(f"The run {run.name} has not ended within {seconds:.0f} s.")
        time.sleep(POLL_SECONDS)


def queued_by(client: SyncPrefectClient, run: FlowRun, deployment: str) -> FlowRun | None:
    """Return the run of another deployment that a run has started, if it has started one yet.

    Args:
        client: a client of the server.
        run: the run that started it.
        deployment: of which deployment, as ``flow/deployment``.
    """
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.client.schemas.sorting import FlowRunSort

    found = client.read_deployment_by_name(deployment)
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [found.id]}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    for each in runs:
        if not each.auto_scheduled and each.created and run.created and each.created > run.created:
            return each
    return None


def forget_missed(client: SyncPrefectClient) -> None:
    """Delete the scheduled runs that were missed, but the last of each deployment.

    A server that was down for a night has a run for each hour of it, and would start them all.

    Args:
        client: a client of the server.
    """
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    past = {"before_": dt.datetime.now(dt.UTC)}
    missed = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": past}
    wanted, latest = FlowRunFilter.model_validate(missed), FlowRunSort.EXPECTED_START_TIME_DESC
    kept: set[UUID | None] = set()
    for run in pages(client.read_flow_runs, flow_run_filter=wanted, sort=latest):
        if run.auto_scheduled and run.deployment_id in kept:
            client.delete_flow_run(run.id)
        elif run.auto_scheduled:
            kept.add(run.deployment_id)


def progress_of(client: SyncPrefectClient, run_id: UUID) -> float:
    """Return the progress of a run in percent; 0 while it tells of none."""
    bars = [artifact for artifact in artifacts(client, run_id) if artifact.type == "progress"]
    return float(str(bars[0].data)) if bars else 0.0


def artifacts(client: SyncPrefectClient, run_id: UUID) -> list[Artifact]:
    """Return the artifacts of a flow run and of its tasks."""
    from prefect.client.schemas.filters import ArtifactFilter

    within = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run_id]}})
    return client.read_artifacts(artifact_filter=within)
