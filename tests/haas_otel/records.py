"""What the server's records say of task runs, and what a disk says of their spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.filters import FlowRunFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

    from haas_otel import BackgroundTask


@dataclass(frozen=True)
class ALedger:
    """What is written down, by its answers for the id of a span and for a moment."""

    id: str
    holds: Callable[[int], bool]
    keeps: Callable[[int], bool] = lambda _: True

    def has(self, trace_id: int, span_id: int) -> bool:
        assert trace_id
        return self.holds(span_id)

    def remembers(self, moment_ns: int) -> bool:
        return self.keeps(moment_ns)


def task_runs(client: SyncPrefectClient, flow_run: FlowRun) -> list[TaskRun]:
    """Return the task runs of a flow run that have a state."""
    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run.id]}))
    return [run for run in found if run.state]


def is_killed(task_run: TaskRun) -> bool:
    """Say whether a task run is one that a process of ``dies.py`` was killed in."""
    if task_run.state_name == "AwaitingRetry":
        return True
    return task_run.state_name == "Retrying" and task_run.run_count == 3


def kept_by(task: BackgroundTask[Any, Any]) -> dict[object, TaskRun]:
    """Return, by id, what a task's runs will be in this process: what the server gets to know.

    A test of what is read there does not depend on whether, and when, an event of it arrives.
    """
    runs: dict[object, TaskRun] = {}

    def keep(task: Any, task_run: TaskRun, state: Any) -> None:
        runs[task_run.id] = task_run

    task.on_running_hooks.append(keep)
    return runs
