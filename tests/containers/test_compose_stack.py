"""The compose stack with Jaeger: every way a run can end there, and one true span for each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.browser.prefect_ui import PrefectUi
from tests.chaos import CHAOS
from tests.containers.conftest import block, command
from tests.waits import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from tests.containers.conftest import Containers

pytestmark = pytest.mark.timeout(3000 if CHAOS else 900)
UPGRADES = 10 if CHAOS else 1


def test_a_stranger_who_follows_the_page_has_a_trace(stack: Containers) -> None:
    (first,) = stack.runs_of("metadata-scan/hourly")
    assert stack.api.flow_run(first).state_name == "Completed"
    assert stack.wait_for_span(first)["task.status"] == "Completed"


def test_a_run_is_triggered_in_the_ui(stack: Containers, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(base_url=f"http://127.0.0.1:{stack.port}")
        page.set_default_timeout(60_000)
        ui = PrefectUi(page, tmp_path)
        ui.open_deployments()
        ui.open_deployment("metadata-scan", "hourly")
        ui.open_form()
        ui.submit()
        stack.runs.append(ui.open_new_run())
        ui.wait_for_state("Completed")
        browser.close()


def test_a_film_that_lands_is_scanned(stack: Containers) -> None:
    """By the stack's watch, and nothing but its folder: the schedule is off."""
    film = stack.media / "films" / "Landed (2001)"
    film.mkdir()
    (film / "Landed (2001).mkv").write_bytes(b"no film, but a file to look at")

    def paths(run: UUID) -> list[str]:
        return [str(path) for path in stack.api.flow_run(run).parameters["paths"] or []]

    def runs() -> list[UUID]:
        known = stack.runs_of("metadata-scan/on-event")
        return [run for run in known if any("Landed" in path for path in paths(run))]

    (run,) = wait_until(runs, timeout=60)
    assert stack.wait_for_end(run).state_name == "Completed"
    assert all("Landed" in path for path in paths(run))
    stack.runs.append(run)


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
    command("docker", "exec", stack.container_of(killed), *kill)
    stack.wait_for(killed, "Crashed")
    stack.wait_for(scan, "Completed")
    told = [stack.wait_for_span(run)["task.status"] for run in (scan, cancelled, killed)]
    assert told == ["Completed", "Cancelled", "Failed"]
    assert "haas.again.by" not in stack.api.flow_run(killed).labels


def test_upgrades_let_end_what_can_and_run_the_rest_again(stack: Containers) -> None:
    """And they keep what a person did in the UI, as they deploy again."""
    deployment = stack.api.client.read_deployment_by_name("person-cleanup/nightly")
    (schedule,) = deployment.schedules
    stack.api.client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    for number in range(UPGRADES):
        _upgrade(stack, f"Upgraded {number}")
    deployment = stack.api.client.read_deployment_by_name("person-cleanup/nightly")
    assert [each.active for each in deployment.schedules] == [False]


def _upgrade(stack: Containers, name: str) -> None:
    """Upgrade in the middle of an encoding that takes too long, and of scans and cleanups."""
    encoding = stack.encode(name)
    changed = stack.clone / "README.md"  # is in the image
    changed.write_text(f"{changed.read_text()}\nA newer version.\n")
    images = stack.compose("images", "-q", "worker")
    with ThreadPoolExecutor(1) as thread:
        commands = block("operations.md", "git pull")
        upgrade = thread.submit(stack.follow, f"cd deployments/compose\n{commands}")
        short: list[UUID] = []
        under_way: dict[str, UUID] = {}
        while not upgrade.done():
            for deployment in ("metadata-scan/hourly", "person-cleanup/nightly"):
                if deployment not in under_way or stack.has_ended(under_way[deployment]):
                    under_way[deployment] = stack.start(deployment)
                    short.append(under_way[deployment])
            time.sleep(1)
        upgrade.result()
    assert stack.compose("images", "-q", "worker") != images
    assert stack.wait_for_end(encoding, timeout=1).state_name == "Cancelled"
    assert stack.wait_for_span(encoding)["task.status"] == "Cancelled"
    repeated = stack.repetition(encoding)
    for run in short:
        # One that the drain had no time for runs again.
        cut_off = stack.wait_for_end(run).state_name == "Cancelled"
        done = stack.repetition(run) if cut_off else run
        assert stack.wait_for_end(done).state_name == "Completed"
    stack.wait_for(repeated, "Running")
    stack.api.cancel(repeated)
    stack.wait_for(repeated, "Cancelled")


def test_a_workers_container_that_is_killed_is_told_by_another(stack: Containers) -> None:
    run = stack.encode("Container")
    began = time.time()
    command("docker", "kill", stack.container_of(run))
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
    run = stack.encode("Dark")
    began = time.time()
    everything = ("postgres", "redis", "server", "background", "worker")
    command("docker", "kill", *stack.compose("ps", "-q", *everything).split())
    killed = time.time()
    stack.compose("up", "-d")
    # Three replicas have all started by now: the first of them cannot have been earlier.
    stack.wait_for(run, "Crashed", timeout=60)
    span = stack.wait_for_span(run)
    assert span["task.status"] == "Failed"
    assert span["duration"] <= killed - began + 30
    scan = stack.start("metadata-scan/hourly")
    assert stack.wait_for_end(scan).state_name == "Completed"
    stack.api.cancel(stack.repetition(run))


def test_scaling_down_loses_nothing(stack: Containers) -> None:
    scan = stack.start("metadata-scan/hourly")
    stack.wait_for(scan, "Running", "Completed")
    stack.compose("up", "-d", "--no-deps", "--scale", "worker=1", "worker")
    assert stack.wait_for_end(scan).state_name == "Completed"


def test_every_run_is_one_true_span_in_jaeger(stack: Containers) -> None:
    for run in stack.runs:
        flow_run = stack.wait_for_end(run)
        if stack.started_tasks(run):
            status = "Failed" if flow_run.state_name == "Crashed" else flow_run.state_name
            assert stack.wait_for_span(run)["task.status"] == status

    def under_way() -> list[str]:
        known = stack.api.client.read_flow_runs(limit=200)
        return [f"{run.name} {run.id}" for run in known if run.state and run.state.is_running()]

    with suppress(AssertionError):
        wait_until(lambda: under_way() == [], timeout=60)
    assert under_way() == []
