"""What Prefect's server has on record of a run: its states, and what was under way meanwhile."""

from __future__ import annotations

import contextlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from haas_otel.decision import SECOND
from haas_otel.history import Wait, waits_of
from haas_otel.server import Server, pages
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

HEARTBEAT = timedelta(seconds=30)  # of a worker


class RunNotFound(LookupError):
    """There is no such run. The text says what to give."""


def find_run(client: SyncPrefectClient, name: str) -> FlowRun:
    """Return a flow run by its id, its page's address, a task run's id, or its name (the latest).

    Raises:
        RunNotFound: there is none.
    """
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    page, server = re.split("[?#]", name.strip())[0], Server(client)  # its address has a tab
    wanted = page.rstrip("/").rpartition("/")[2]
    try:
        id_ = UUID(wanted)
    except ValueError:
        named = FlowRunFilter.model_validate({"name": {"any_": [name]}})
        latest = FlowRunSort.EXPECTED_START_TIME_DESC
        found = client.read_flow_runs(flow_run_filter=named, sort=latest, limit=1)
        if not found:
            raise RunNotFound(f"Prefect knows no run {name!r}: give its id or its name.") from None
        return found[0]
    task_run = server.task_run(id_)
    run = server.flow_run(task_run.flow_run_id if task_run else id_)
    if run is None:
        raise RunNotFound(f"Prefect knows no run {wanted}.")
    return run


class RunHistory:
    """What there is to know of a flow run; asked for where it does not say otherwise.

    ``states`` are in order, ``waits`` up to ``now`` if the run is not ``is_over``; moments in ns
    since the epoch. ``deployment`` is None where there is none any more.
    """

    def __init__(self, client: SyncPrefectClient, run: FlowRun) -> None:
        from prefect.exceptions import ObjectNotFound

        self._client, self._server, self.run = client, Server(client), run
        self.now = time.time_ns()
        self.states = sorted(self._server.states(run.id), key=lambda state: state.timestamp)
        self.is_over = run.state is not None and run.state.is_final()
        end = nanoseconds(self.states[-1].timestamp) if self.is_over else self.now
        self.waits = waits_of(self.states, end)
        self.deployment: DeploymentResponse | None = None
        if run.deployment_id is not None:
            with contextlib.suppress(ObjectNotFound):
                self.deployment = client.read_deployment(run.deployment_id)
        self.deployment_name = ""
        if self.deployment is not None:
            self.deployment_name = f"{self._server.flow_name(run)}/{self.deployment.name}"

    def name_of(self, id_: object) -> str | None:
        """Return the name of another run; None of one that is not there."""
        with contextlib.suppress(ValueError):
            found = self._server.flow_run(UUID(str(id_)))
            return found.name if found else None
        return None

    def pool(self) -> WorkPool | None:
        """Return the run's work pool, as it is now; None where there is none any more."""
        from prefect.exceptions import ObjectNotFound

        with contextlib.suppress(ObjectNotFound):
            return self._client.read_work_pool(self.run.work_pool_name or "")
        return None

    def workers_during(self, wait: Wait) -> tuple[bool, str]:
        """Say whether the pool had a worker during a wait; if not, which was started at its end."""
        pool = self.run.work_pool_name or ""
        query = {
            "filter": {
                "event": {"name": ["prefect.worker.started"]},
                "occurred": {"since": _iso(wait.since), "until": _iso(wait.until)},
                "order": "ASC",
            },
            "limit": 50,
        }
        events = self._client.request("POST", "/events/filter", json=query).json()["events"]
        started = [
            event["resource"]["prefect.resource.name"]
            for event in events
            if any(each.get("prefect.resource.name") == pool for each in event["related"])
        ]
        since = datetime.fromtimestamp(wait.since / SECOND, UTC) - HEARTBEAT
        others = [
            worker
            for worker in self._client.read_workers_for_work_pool(pool)
            if worker.name not in started
            and worker.last_heartbeat_time
            and worker.last_heartbeat_time >= since
        ]
        return bool(others), started[0] if started else ""

    def under_way(self, wait: Wait, *, in_pool: bool) -> list[FlowRun]:
        """Return the runs of its pool, or deployment, that were under way while it waited."""
        from prefect.client.schemas import filters
        from prefect.client.schemas.sorting import FlowRunSort

        query: dict[str, Any] = {}
        if in_pool:
            pool = {"name": {"any_": [self.run.work_pool_name]}}
            query["work_pool_filter"] = filters.WorkPoolFilter.model_validate(pool)
        else:
            deployment = {"id": {"any_": [self.run.deployment_id]}}
            query["deployment_filter"] = filters.DeploymentFilter.model_validate(deployment)
        before = {"start_time": {"before_": _iso(wait.until)}}
        found = self._client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter.model_validate(before),
            sort=FlowRunSort.START_TIME_DESC,
            limit=50,
            **query,
        )
        since = datetime.fromtimestamp(wait.since / SECOND, UTC)
        return [
            each
            for each in reversed(found)
            if each.id != self.run.id
            and each.start_time
            and (each.end_time is None or each.end_time > since)
        ]

    def task_runs(self) -> list[TaskRun]:
        """Return its task runs that have begun, in order."""
        from prefect.client.schemas.filters import FlowRunFilter

        within = FlowRunFilter.model_validate({"id": {"any_": [self.run.id]}})
        found = pages(self._client.read_task_runs, flow_run_filter=within)
        begun = (each for each in found if each.start_time)
        return sorted(begun, key=lambda each: nanoseconds(each.start_time))

    def last_error(self) -> str:
        """Return the last error that was logged of it; nothing where none was."""
        from prefect.client.schemas.filters import LogFilter
        from prefect.client.schemas.sorting import LogSort

        errors = {"flow_run_id": {"any_": [self.run.id]}, "level": {"ge_": 40}}
        wanted, latest = LogFilter.model_validate(errors), LogSort.TIMESTAMP_DESC
        found = self._client.read_logs(wanted, sort=latest, limit=1)
        return found[0].message if found else ""


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / SECOND, UTC).isoformat()
