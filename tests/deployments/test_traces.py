"""`haas traces` on a real trace store."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from deployments.traces import TracesError, parse_duration
from tests.deployments.conftest import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.stack import Stack
    from tests.deployments.conftest import Command

# A Prefect project of its own, so that the spans are real.
PROJECT = """
import time
from haas_otel import flow, task

@task(name="Metadata library scan")
def metadata_scan():
    time.sleep(0.4)

@task(name="Person metadata cleanup")
def person_cleanup():
    raise RuntimeError("nobody\\nthere")

@flow
def both():
    metadata_scan()
    person_cleanup(return_state=True)
    return 1

both()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Path:
    home = tmp_path_factory.mktemp("traces")
    environment = clean_environment(home / "prefect") | {
        "HAAS_OTEL_DIR": str(home / "telemetry"),
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": stack.address.api,
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    (home / "project.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "project.py"], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return home / "telemetry"


@pytest.fixture
def traces(haas: Command, store: Path) -> Command:
    haas.environment["HAAS_OTEL_DIR"] = str(store)
    return haas


def test_every_task(traces: Command) -> None:
    shown = traces("traces")
    assert shown.code == 0
    head, failed, why, completed = shown.out.splitlines()
    assert head.split() == ["started", "(UTC)", "task", "status", "took", "trace"]
    assert "PersonCleanupTask  Failed" in failed
    assert why == "    nobody there"
    assert "MetadataScanTask   Completed" in completed


def test_failed_tasks(traces: Command) -> None:
    [span] = json.loads(traces("traces", "--failed", "--json").out)
    assert span["name"] == "BackgroundTask.PersonCleanupTask"
    assert span["attributes"]["task.status"] == "Failed"


def test_slow_tasks(traces: Command) -> None:
    [span] = json.loads(traces("traces", "--slower-than", "300ms", "--json").out)
    assert span["attributes"]["task.type"] == "MetadataScanTask"
    assert "No task matches" in traces("traces", "--slower-than", "5m").out


def test_tasks_of_a_type(traces: Command) -> None:
    spans = json.loads(traces("traces", "--type", "MetadataScanTask", "--json").out)
    assert [span["attributes"]["task.type"] for span in spans] == ["MetadataScanTask"]
    assert json.loads(traces("traces", "--type", "EncodingTask", "--json").out) == []


def test_only_the_latest(traces: Command) -> None:
    [span] = json.loads(traces("traces", "--limit", "1", "--json").out)
    assert span["attributes"]["task.type"] == "PersonCleanupTask"
    assert traces("traces", "--limit", "0").err == "haas: --limit takes a number from 1.\n"


def test_one_trace_as_a_waterfall(traces: Command) -> None:
    [span] = json.loads(traces("traces", "--failed", "--json").out)
    shown = traces("traces", span["traceId"][:20])
    assert shown.code == 0
    assert f"trace {span['traceId']}  2 spans" in shown.out
    assert shown.out.index("MetadataScanTask") < shown.out.index("PersonCleanupTask")
    assert "█" in shown.out
    assert "task.failed" in shown.out
    spans = json.loads(traces("traces", span["traceId"], "--json").out)
    assert [each["spanId"] for each in spans][1] == span["spanId"]


def test_a_trace_that_is_not_there(traces: Command) -> None:
    for wrong in ("ffff", "no id"):
        refused = traces("traces", wrong)
        assert refused.code == 1
        assert refused.err.startswith("haas: ")
        assert "Traceback" not in refused.err


def test_an_empty_store(haas: Command) -> None:
    shown = haas("traces")
    assert shown.code == 0
    assert shown.out.startswith("No task has left a trace in ")
    assert haas("traces", "--json").out == "[]\n"


def test_the_store_of_the_data_directory_is_found(haas: Command, tmp_path: Path) -> None:
    assert str(tmp_path / "prefect" / "haas_otel") in haas("traces").out
    (tmp_path / "data" / "telemetry").mkdir(parents=True)
    assert str(tmp_path / "data" / "telemetry") in haas("traces").out
    assert "/elsewhere" in haas("traces", environment={"HAAS_OTEL_DIR": "/elsewhere"}).out


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5 h", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-5m", "5m or so", "1:30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(TracesError, match="is no duration: write 500ms"):
        parse_duration(text)
