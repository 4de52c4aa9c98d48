"""A Prefect project that has nothing to do with media, run as its owner would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.delivery import SCOPE
from tests.receiver import Receiver

if TYPE_CHECKING:
    from tests.e2e.prefect_processes import PrefectProcesses

PROJECT = Path(__file__).parent.parent / "elsewhere"


def test_three_lines_give_every_task_run_its_span(
    prefect: PrefectProcesses, tmp_path: Path
) -> None:
    with Receiver().start("http/protobuf") as receiver:
        subprocess.run(
            [sys.executable, "weather.py", "Oslo", "Lima", "Atlantis"],
            cwd=PROJECT,
            env={
                **prefect.environment,
                **receiver.environment,
                "OTEL_SERVICE_NAME": "weather",
                "HAAS_OTEL_DIR": str(tmp_path),
            },
            check=False,
            capture_output=True,
        )
        receiver.wait_for(lambda spans: len(spans) >= 3, timeout=60)
        spans = sorted(receiver.spans, key=lambda span: span.start_ns)
    assert {span.scope_name for span in spans} == {SCOPE}
    assert {span.resource["service.name"] for span in spans} == {"weather"}
    assert {span.name for span in spans} == {"BackgroundTask.FetchTask"}
    assert len({span.trace_id for span in spans}) == 1
    assert [span.attributes["task.status"] for span in spans] == [
        "Completed",
        "Completed",
        "Failed",
    ]
    assert [event.name for event in spans[2].events] == [
        "task.started",
        "task.retrying",
        "task.failed",
    ]
    assert spans[2].status_description == "no weather station in Atlantis"
