"""`haas traces` on a real trace store."""

from __future__ import annotations

import json
import re
import signal
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from deployments.traces import TracesError, parse_duration
from tests.deployments.conftest import clean_environment
from tests.faulty_port import FaultyPort
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prefect.client.schemas.objects import TaskRun

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

# A run that only a signal ends. It says which it is.
ENDLESS = """
import pathlib, prefect.runtime, signal
from haas_otel import flow, task

@task(name="Encode")
def encoding():
    draft = pathlib.Path("draft")
    draft.write_text(str(prefect.runtime.flow_run.id))
    draft.rename("run")
    signal.pause()

@flow(flow_run_name="a long film")
def encode():
    encoding()

encode()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Path:
    home = tmp_path_factory.mktemp("traces")
    environment = clean_environment(home / "prefect") | {
        "HAAS_OTEL_DIR": str(home / "telemetry"),
        "PREFECT_API_URL": stack.address.api,
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    (home / "project.py").write_text(PROJECT)
    done = warm().run("project.py", env=environment, cwd=home)
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


def test_tasks_are_chosen(traces: Command) -> None:
    def chosen(*options: str) -> list[str]:
        spans = json.loads(traces("traces", *options, "--json").out)
        return [span["attributes"]["task.type"] for span in spans]

    assert chosen("--failed") == chosen("--limit", "1") == ["PersonCleanupTask"]
    assert chosen("--type", "EncodingTask") == []
    assert "No task matches" in traces("traces", "--slower-than", "5m").out
    too_long = traces("traces", "--slower-than", "99999999999d").err
    assert too_long.startswith("haas: '99999999999d' is longer than anything runs")
    assert "Must be >= 1" in traces("traces", "--limit", "0").err
    assert "--type and --slower-than" in traces("traces", "--running", "--failed").err


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
    assert str(tmp_path / "data" / "telemetry") in haas("traces").out
    assert "/elsewhere" in haas("traces", environment={"HAAS_OTEL_DIR": "/elsewhere"}).out


def test_durations() -> None:
    durations = {
        "500ms": timedelta(milliseconds=500),
        "90s": timedelta(seconds=90),
        "5m": timedelta(minutes=5),
        "1h30m": timedelta(minutes=90),
        "1.5 h": timedelta(minutes=90),
        "2d": timedelta(days=2),
    }
    assert {text: parse_duration(text) for text in durations} == durations
    for text in ("", "5", "m", "5 minutes", "-5m", "5m or so", "1:30"):
        with pytest.raises(TracesError, match="is no duration: write 500ms"):
            parse_duration(text)


def started(stack: Stack, flow_run: str) -> list[TaskRun]:
    """Return the task runs of a flow run, when the server knows that they have started."""
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run)]))
    with stack.client() as client:
        return [run for run in client.read_task_runs(flow_run_filter=mine) if run.start_time]


@pytest.fixture
def followed(haas: Command, tmp_path: Path) -> Iterator[Callable[[], list[list[str]]]]:
    """What ``haas traces --follow`` has printed so far, without the times."""
    haas.environment["HAAS_OTEL_DIR"] = str(tmp_path / "spans")
    # What it logs is not among it: it may be the one that ends what is lost.
    with (tmp_path / "followed").open("w") as file, (tmp_path / "logged").open("w") as logged:
        follow = ("-m", "deployments.cli", "traces", "--follow")
        files = (file, file, logged)
        follower = warm().start(*follow, env=haas.environment, cwd=tmp_path, files=files)
    yield lambda: [line.split()[1:] for line in (tmp_path / "followed").read_text().splitlines()]
    follower.send_signal(signal.SIGINT)
    assert follower.wait() == 130


def test_what_runs_and_what_was_killed(
    stack: Stack, haas: Command, followed: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    """Only its own server says how a killed run ended: while that is away, nothing is ended."""
    port = FaultyPort(int(stack.address.ui.rpartition(":")[2]), 0)
    server = f"http://127.0.0.1:{port.port}/api"

    def running() -> str:
        return haas("traces", "--running").out

    def state() -> str | None:
        with stack.client() as client:
            return client.read_flow_run(UUID(flow_run)).state_name

    assert running() == f"No task runs on this machine, by {tmp_path / 'spans'}.\n"
    (tmp_path / "project.py").write_text(ENDLESS)
    environment = haas.environment | {"PREFECT_API_URL": server}
    with (tmp_path / "log").open("w+") as log:
        files = (log, log, log)
        program = warm().start("project.py", env=environment, cwd=tmp_path, files=files)
    try:
        wait_until((tmp_path / "run").exists, what="the run to be in its task")
        flow_run = (tmp_path / "run").read_text()
        head, row = running().splitlines()
        assert head.split() == ["since", "(UTC)", "task", "state", "for", "run"]
        assert re.fullmatch(r"\S+ \S+  EncodingTask  running +\d+[.]\d+ m?s  a long film", row)
        for chosen in ("--type", "EncodingTask"), ("--slower-than", "1ms"):
            assert haas("traces", "--running", *chosen).out.splitlines()[1:]
        for chosen in ("--type", "MetadataScanTask"), ("--slower-than", "1h"):
            assert haas("traces", "--running", *chosen).out.startswith("No such task runs on")
        [told] = json.loads(haas("traces", "--running", "--json").out)
        [task_run] = wait_until(lambda: started(stack, flow_run), what="the task run's record")
        wait_until(followed, what="the beginning to be followed")
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    assert datetime.fromisoformat(told.pop("since")) == task_run.start_time
    assert told == {
        "type": "EncodingTask",
        "name": "Encode",
        "state": "running",
        "task_id": str(task_run.id),
        "flow_run_id": flow_run,
        "flow_run_name": "a long film",
        "server": server,
    }

    port.set_mode("refuse")
    assert "EncodingTask  lost " in running()
    shown = haas("traces")
    assert shown.err.startswith("1 task is lost: the process died. How it ended is asked of")
    assert f"({server})" in shown.err
    assert shown.out.startswith("No task has left a trace")
    assert state() == "Running"
    wait_until(lambda: len(followed()) > 1, what="the loss to be followed")

    port.set_mode("pass")
    # While the follower has it in hand, it is lost for everybody else.
    failed = lambda: json.loads(haas("traces", "--failed", "--json").out)  # noqa: E731
    [span] = wait_until(failed, interval=1, what="what is lost to be ended")
    wait_until(lambda: "No task runs" in running(), what="its record to be closed")
    wait_until(lambda: state() == "Crashed", what="its flow run to be stopped")
    port.stop()
    assert span["attributes"]["task.id"] == str(task_run.id)

    wait_until(lambda: len(followed()) > 2, what="the end to be followed")
    states = ("running", "lost", "Failed")
    assert followed() == [["EncodingTask", each, "a", "long", "film"] for each in states]
