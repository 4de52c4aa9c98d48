"""What the server's records say of task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.filters import FlowRunFilter

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun


def task_runs(client: SyncPrefectClient, flow_run: FlowRun) -> list[TaskRun]:
    """Return the task runs of a flow run that have a state."""
    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run.id]}))
    return [run for run in found if run.state]


def is_killed(task_run: TaskRun) -> bool:
    """Say whether a task run is one that a process of ``dies.py`` was killed in."""
    if task_run.state_name == "AwaitingRetry":
        return True
    return task_run.state_name == "Retrying" and task_run.run_count == 3
