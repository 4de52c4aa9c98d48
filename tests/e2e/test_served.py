"""Runs of a flow that Prefect's ``serve()`` executes: cancelled, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.delivery import wait_until_delivered
from tests.e2e.prefect_processes import end, wait_until
from tests.e2e.test_endings import SCOPE
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def served(
    request: pytest.FixtureRequest,
    prefect: PrefectProcesses,
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Receiver, Path]]:
    folder = tmp_path_factory.mktemp("served")
    with Receiver().start(request.param) as receiver, (folder / "log").open("wb") as log:
        environment = {
            **prefect.environment,
            **receiver.environment,
            "MARKS": str(folder),
            "HAAS_OTEL_DIR": str(folder / "otel"),
        }
        process = subprocess.Popen(
            [sys.executable, "endings.py", "serve"],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield receiver, folder
        finally:
            end(process)


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_served_run_leaves_one_span(served: tuple[Receiver, Path], api: Api, how: str) -> None:
    receiver, folder = served
    deployment = wait_until(
        lambda: next((d for d in api.client.read_deployments() if d.name == "served"), None),
        what="the served deployment",
    )
    run = api.run(deployment.id)
    marker = folder / f"{run}.running"
    wait_until(marker.exists, what="the run to reach its body")
    wait_until(
        lambda: any(r.state and r.state.is_running() for r in api.task_runs(run)),
        what="the task run's record",
    )
    if how == "cancelled":
        api.cancel(run)
    else:
        os.kill(int(marker.read_text()), signal.SIGKILL)
    ended = api.wait_for_end(run)
    spans = wait_until_delivered(
        lambda: [s for s in receiver.spans if s.trace_id == run.hex and s.scope_name == SCOPE],
        {**receiver.environment, "HAAS_OTEL_DIR": str(folder / "otel")},
        what="the span",
    )
    (span,) = spans
    (task_run,) = api.task_runs(run)
    assert span.span_id == task_run.id.hex[16:]
    assert span.name == "BackgroundTask.ObeysTask"
    if how == "cancelled":
        assert ended.state_name == "Cancelled"
        assert span.attributes["task.status"] == "Cancelled"
        assert span.attributes["media.progress"] == 42.5
        assert span.status_description == "Task was cancelled"
        marks = folder / f"{task_run.id}.cancellation"
        assert len(marks.read_text().splitlines()) == 1
    else:
        assert ended.state_name == "Crashed"
        assert span.attributes["task.status"] == "Failed"
        assert span.attributes["exception.type"] == "prefect.exceptions.CrashedRun"
        assert ended.state is not None
        assert span.status_description == ended.state.message
