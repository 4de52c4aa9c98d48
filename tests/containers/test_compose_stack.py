"""The compose stack with Jaeger: every way a run can end there, and one true span for each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.containers.conftest import block, command

if TYPE_CHECKING:
    from tests.containers.conftest import Containers

pytestmark = pytest.mark.timeout(900)


def test_the_pages_are_served(stack: Containers) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{stack.port}/")
        page.get_by_role("link", name="Deployments", exact=True).click()
        page.get_by_role("link", name="metadata-refresh", exact=True).wait_for()
        browser.close()


def test_prefects_commands_in_the_server_talk_to_it(stack: Containers) -> None:
    prefect = ("exec", "-T", "server", "prefect")
    assert "'haas-media'" in stack.compose(*prefect, "work-pool", "inspect", "haas-media")


def test_runs_complete_are_cancelled_and_killed(stack: Containers) -> None:
    scan = stack.start("metadata-scan/hourly")
    cancelled = stack.encode("Cancelled")
    stack.api.cancel(cancelled)
    stack.wait_for(cancelled, "Cancelled")
    killed = stack.encode("Killed")
    pid = stack.api.flow_run(killed).infrastructure_pid
    kill = ("sh", "-c", f"kill -9 {pid}")
    command("docker", "exec", stack.container_of(killed), *kill, cwd=stack.clone)
    stack.wait_for(killed, "Crashed")
    stack.wait_for(scan, "Completed")
    told = [stack.wait_for_span(run)["task.status"] for run in (scan, cancelled, killed)]
    assert told == ["Completed", "Cancelled", "Failed"]
    assert "haas.again.by" not in stack.api.flow_run(killed).labels


def test_an_upgrade_lets_end_what_can_and_runs_the_rest_again(stack: Containers) -> None:
    """And it keeps what a person did in the UI, as it deploys again."""
    deployment = stack.api.client.read_deployment_by_name("person-cleanup/nightly")
    (schedule,) = deployment.schedules
    stack.api.client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    encoding = stack.encode("Upgraded")
    changed = stack.clone / "README.md"  # is in the image
    changed.write_text(f"{changed.read_text()}\nA newer version.\n")
    with ThreadPoolExecutor(1) as thread:
        commands = block("operations.md", "docker compose build")
        upgrade = thread.submit(stack.follow, f"cd deployments/compose\n{commands}")
        scan = stack.start("metadata-scan/hourly")
        stack.wait_for(scan, "Running", "Completed")
        upgrade.result()
    assert stack.api.flow_run(scan).state_name == "Completed"
    assert stack.wait_for(encoding, "Cancelled").state_name == "Cancelled"
    repeated = stack.repetition(encoding)
    assert stack.wait_for_span(scan)["task.status"] == "Completed"
    assert stack.wait_for_span(encoding)["task.status"] == "Cancelled"
    stack.wait_for(repeated, "Running")
    stack.api.cancel(repeated)
    stack.wait_for(repeated, "Cancelled")
    deployment = stack.api.client.read_deployment_by_name("person-cleanup/nightly")
    assert [each.active for each in deployment.schedules] == [False]


def test_a_workers_container_that_is_killed_is_told_by_another(stack: Containers) -> None:
    run = stack.encode("Container")
    began = time.time()
    command("docker", "kill", stack.container_of(run), cwd=stack.clone)
    killed = time.time()
    stack.wait_for(run, "Crashed", timeout=60)
    span = stack.wait_for_span(run)
    assert span["exception.type"] == "prefect.exceptions.CrashedRun"
    assert span["duration"] < killed - began + 30
    repeated = stack.repetition(run)
    stack.wait_for(repeated, "Running")
    stack.api.cancel(repeated)
    stack.wait_for(repeated, "Cancelled")


def test_after_a_power_cut_all_is_settled_and_the_next_scan_runs(stack: Containers) -> None:
    stack.compose("up", "-d", "--scale", "worker=3")
    run = stack.encode("Dark")
    began = time.time()
    everything = ("postgres", "redis", "server", "background", "worker")
    command("docker", "kill", *stack.compose("ps", "-q", *everything).split(), cwd=stack.clone)
    killed = time.time()
    stack.compose("up", "-d", "--scale", "worker=3")
    # Three replicas have all started by now: the first of them cannot have been earlier.
    stack.wait_for(run, "Crashed", timeout=60)
    span = stack.wait_for_span(run)
    assert span["task.status"] == "Failed"
    assert span["duration"] <= killed - began + 30
    scan = stack.start("metadata-scan/hourly")
    assert stack.wait_for(scan, "Completed", "Cancelled", "Crashed").state_name == "Completed"
    stack.api.cancel(stack.repetition(run))


def test_scaling_down_loses_nothing(stack: Containers) -> None:
    scan = stack.start("metadata-scan/hourly")
    stack.wait_for(scan, "Running", "Completed")
    stack.compose("up", "-d", "--no-deps", "--scale", "worker=1", "worker")
    assert stack.wait_for(scan, "Completed", "Cancelled", "Crashed").state_name == "Completed"


def test_every_run_is_one_true_span_in_jaeger(stack: Containers) -> None:
    for run in stack.runs:
        flow_run = stack.wait_for(run, "Completed", "Cancelled", "Crashed")
        if stack.started_tasks(run):
            status = {"Crashed": "Failed"}.get(flow_run.state_name, flow_run.state_name)
            assert stack.wait_for_span(run)["task.status"] == status
    left = stack.api.client.read_flow_runs(limit=200)
    assert [run.name for run in left if run.state and run.state.is_running()] == []
