"""The work pool that every deployment runs in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

VARIABLE = "HAAS_WORK_POOL"
DEFAULT = "haas-media"
BANNED = "/%&<>"  # by Prefect, in every name (prefect.types.names)
BRACES = "{}"  # it takes for a placeholder in prefect.yaml, and deploys to no pool


class WorkPoolNameError(ValueError):
    """No work pool can be called so. The text says what can."""


def work_pool_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the work pool.

    Args:
        environment: where ``HAAS_WORK_POOL`` may name another than the default.

    Raises:
        WorkPoolNameError: no work pool can have that name.
    """
    name = environment.get(VARIABLE, "").strip() or DEFAULT
    if set(BANNED + BRACES) & set(name) or name.lower().startswith("prefect"):
        raise WorkPoolNameError(
            f"{VARIABLE} is {name!r}: give a name without any of {' '.join(BANNED + BRACES)} "
            'that does not begin with "prefect".'
        )
    return name


def create_work_pool(client: SyncPrefectClient, name: str) -> str:
    """Create the work pool, for processes, unless there is one of that name; return its type.

    Args:
        client: a client of the server.
        name: the name.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        return client.read_work_pool(name).type
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        try:
            client.create_work_pool(
                WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
            )
        except ObjectAlreadyExists:  # somebody else was quicker
            return client.read_work_pool(name).type
    return ProcessWorker.type


def deployments_of(
    client: SyncPrefectClient, pool: str | None = None
) -> dict[str, DeploymentResponse]:
    """Return the deployments of a work pool, or all, by their names, as ``flow/deployment``."""
    from prefect.client.schemas.filters import FlowFilter, WorkPoolFilter

    in_pool = WorkPoolFilter.model_validate({"name": {"any_": [pool]}}) if pool else None
    found = client.read_deployments(work_pool_filter=in_pool)
    ids = FlowFilter.model_validate({"id": {"any_": [each.flow_id for each in found]}})
    flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=ids)} if found else {}
    return {f"{flows[each.flow_id]}/{each.name}": each for each in found}


def online_workers(client: SyncPrefectClient, pool: str) -> set[str]:
    """Return the names of a work pool's workers that the server sees online."""
    workers = client.read_workers_for_work_pool(pool)
    return {worker.name for worker in workers if worker.status == "ONLINE"}
