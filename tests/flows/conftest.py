"""Flows run as their users run them: a process of their own, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployments.stack import Stack
from haas_otel.delivery import TraceStore
from tests.databases import new_postgres as new_postgres
from tests.databases import postgres as postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import Artifact, FlowRun

    from haas_otel.delivery.store import StoredSpan

ROOT = Path(__file__).parent.parent.parent
FOREIGN = ("HAAS_", "PREFECT_", "OTEL_")
SCRIPT = """
import importlib, json, sys
from flows import retrying
retrying.RETRY_DELAYS[:] = [0, 0]
module, name, parameters = json.loads(sys.argv[1])
flow = getattr(importlib.import_module(module), name)
state = flow(**parameters, return_state=True)
print("FLOW_RUN", state.state_details.flow_run_id)
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    from prefect.logging.configuration import setup_logging

    setup_logging()  # now, for the first time it takes away the handlers that caplog has put up
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    with Stack(tmp_path_factory.mktemp("server"), port=0, environment=kept) as stack:
        stack.start_server()
        yield stack


@dataclass(frozen=True)
class Ran:
    """What a flow left: its run, its artifacts, its spans, what it printed."""

    run: FlowRun
    artifacts: dict[str, Artifact]
    spans: list[StoredSpan]
    output: str

    @property
    def task(self) -> StoredSpan:
        [span] = [span for span in self.spans if span.is_task]
        return span


@dataclass(frozen=True)
class Flows:
    """Runs flows with these variables."""

    server: Stack
    environment: dict[str, str]
    telemetry: Path

    def __call__(self, module: str, **parameters: Any) -> Ran:
        what = json.dumps([f"flows.{module}", f"{module}_flow", parameters])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, what],
            env=self.environment,
            cwd=self.telemetry.parent,
            capture_output=True,
            text=True,
            timeout=180,
        )
        output = done.stdout + done.stderr
        assert "FLOW_RUN" in done.stdout, output
        run_id = done.stdout.rpartition("FLOW_RUN ")[2].strip()
        with self.server.client() as client:
            from deployments.runs import artifacts

            run = client.read_flow_run(run_id)  # type: ignore[arg-type]
            found = {str(each.key): each for each in artifacts(client, run.id)}
        spans = [
            span
            for task in TraceStore(self.telemetry).tasks(limit=1000)
            if task.attributes.get("prefect.flow_run.id") == str(run.id)
            for span in TraceStore(self.telemetry).trace(task.trace_id)
        ]
        return Ran(run, found, spans, output)


@pytest.fixture
def flows(server: Stack, tmp_path: Path) -> Flows:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    kept |= {
        "PREFECT_API_URL": server.address.api,
        "PREFECT_HOME": str(server.data_dir / "prefect"),
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "HAAS_DATA_DIR": str(tmp_path / "data"),
        "HAAS_OTEL_DIR": str(tmp_path / "telemetry"),
        "PYTHONPATH": str(ROOT),
    }
    return Flows(server, kept, tmp_path / "telemetry")
