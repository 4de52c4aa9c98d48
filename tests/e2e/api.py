"""What the end-to-end tests ask of a Prefect server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling

from tests.waits import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun


class Api:
    """A client of one server, with the calls that tests repeat."""

    def __init__(self, url: str) -> None:
        self.client = SyncPrefectClient(api=url)
        self.ui_url = url.removesuffix("/api")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the last events of a name, the latest first."""
        wanted = {"event": {"name": [name]}}
        answer = self.client.request("POST", "/events/filter", json={"filter": wanted})
        found: list[dict[str, Any]] = answer.json()["events"]
        return found

    def make_pool(self, name: str, limit: int | None = None) -> None:
        """Make a work pool, in which so many flow runs go on at a time."""
        pool = WorkPoolCreate(name=name, type="process", concurrency_limit=limit)
        try:
            self.client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return

    def deploy(
        self,
        project: Path,
        entrypoint: str,
        pool: str,
        name: str = "test",
        tags: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> UUID:
        """Deploy a flow of a project folder; return the deployment's id."""
        flow = load_flow_from_entrypoint(str(project / entrypoint))
        flow_id = self.client.create_flow_from_name(flow.name)
        return self.client.create_deployment(
            flow_id,
            name=name,
            entrypoint=entrypoint,
            # As in prefect.yaml. With a path, a worker copies the whole folder for each run and
            # deletes it after, during which it does nothing else: minutes, where .venv is in it.
            pull_steps=[
                {"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}
            ],
            work_pool_name=pool,
            tags=tags or [],
            job_variables={"env": environment or {}},
            parameter_openapi_schema=_schema(flow),
            enforce_parameter_schema=False,
        )

    def run(
        self,
        deployment: UUID,
        *,
        parameters: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        labels: dict[str, Any] | None = None,
    ) -> UUID:
        """Start a run of a deployment; return the flow run's id."""
        run = self.client.create_flow_run_from_deployment(
            deployment,
            parameters=parameters or {},
            job_variables={"env": environment} if environment else None,
            labels=labels,
        )
        return run.id

    def cancel(self, flow_run_id: UUID) -> None:
        self.client.set_flow_run_state(flow_run_id, Cancelling())

    def flow_run(self, flow_run_id: UUID) -> FlowRun:
        return self.client.read_flow_run(flow_run_id)

    def process(self, flow_run_id: UUID) -> psutil.Process | None:
        """Return the process that executes a run, if a worker has told of it and it lives."""
        pid = self.flow_run(flow_run_id).infrastructure_pid
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(int(pid)) if pid else None
        return None

    def task_runs(self, flow_run_id: UUID) -> list[TaskRun]:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        return self.client.read_task_runs(flow_run_filter=mine)

    def wait_for_end(self, flow_run_id: UUID) -> FlowRun:
        def ended() -> FlowRun | None:
            run = self.flow_run(flow_run_id)
            return run if run.state and run.state.is_final() else None

        run: FlowRun = wait_until(ended, interval=0.5, what=f"the end of {flow_run_id}")
        return run


def _schema(flow: Any) -> dict[str, Any]:
    from prefect.utilities.callables import parameter_schema

    return parameter_schema(flow).model_dump_for_openapi()
