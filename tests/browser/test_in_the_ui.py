"""What is done in the Prefect UI: fill a form, run, watch, cancel, read the report."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from deployments.automations import put_up
from flows.events import CHANGED, emit
from tests.browser.conftest import TRACE_URL
from tests.browser.prefect_ui import PrefectUi
from tests.waits import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from playwright.sync_api import Page
    from prefect.client.orchestration import SyncPrefectClient

    from tests.browser.conftest import Stage
    from tests.received import ReceivedSpan

pytestmark = pytest.mark.e2e


@pytest.fixture
def ui(page: Page, pictures: Path) -> PrefectUi:
    return PrefectUi(page, pictures)


def the_span(stage: Stage, run: UUID) -> ReceivedSpan:
    """Wait for the one span of a run."""

    def mine(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
        return [span for span in spans if span.trace_id == run.hex]

    stage.receiver.wait_for(lambda spans: bool(mine(spans)))
    [span] = mine(stage.receiver.spans)
    return span


def encoders(film: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(film) in word for word in process.cmdline()):
                found.append(process)
    return found


def test_an_encoding_is_filled_in_watched_and_cancelled(ui: PrefectUi, stage: Stage) -> None:
    output = stage.film.with_name("Charade.1963.hevc.mkv")
    before = stage.film.read_bytes()

    ui.open_deployments()
    ui.picture("deployments", height=815)
    ui.open_deployment("encoding")
    ui.open_form()
    ui.fill("Source", str(stage.film), kind="str")
    ui.fill("Output", str(output))
    ui.choose("Video codec", "hevc")
    ui.fill("Constant quality (CRF)", "99", kind="int")
    ui.submit()
    refused = ui.field("Constant quality (CRF)").get_by_text("99 is greater than the maximum of 63")
    refused.wait_for()
    ui.page.get_by_text("Deployments").last.scroll_into_view_if_needed()
    ui.picture("encoding-form", height=984)
    ui.fill("Constant quality (CRF)", "18")
    ui.submit()

    run = ui.open_new_run()
    ui.wait_for_state("Running")
    ui.open_artifact("encoding-progress")
    ui.page.get_by_text("Encode to HEVC: Charade.1963.mkv").first.wait_for()
    first = wait_until(ui.progress, what="progress")
    later = wait_until(lambda: (now := ui.progress()) > first and now, what="more")
    back = ui.page.get_by_role("link", name="encode to HEVC: Charade.1963.mkv")
    back.wait_for()
    ui.picture("progress", height=590)
    assert encoders(stage.film)
    assert [path for path in stage.film.parent.iterdir() if "haas-partial" in path.name]

    back.click()
    ui.wait_for_state("Running")
    ui.wait_for_artifact("encoding-progress")
    ui.picture("running", height=850)
    ui.cancel_run()
    ui.wait_for_state("Cancelled")
    ui.open_tab("Logs")
    ui.page.get_by_text(f"Encode to HEVC: {stage.film.name} into {output}").wait_for()
    ui.picture("cancelled", height=922)

    span = the_span(stage, run)
    assert span.name == "BackgroundTask.EncodingTask"
    assert span.attributes["task.status"] == "Cancelled"
    assert (span.status_code, span.status_description) == ("ERROR", "Task was cancelled")
    assert later - 1 <= span.attributes["media.encoding.progress"] < 100
    wait_until(lambda: not encoders(stage.film), what="the end of ffmpeg")
    assert [path.name for path in stage.film.parent.iterdir()] == [stage.film.name]
    assert stage.film.read_bytes() == before


def test_a_scan_leaves_its_report_and_a_link_to_its_trace(ui: PrefectUi, stage: Stage) -> None:
    ui.open_deployments()
    ui.open_deployment("metadata-scan", "hourly")
    ui.open_form()
    ui.fill("Library", "Films", kind="str")
    ui.submit()
    run = ui.open_new_run()
    ui.wait_for_state("Completed")
    ui.page.get_by_text("scan of Films").first.wait_for()

    ui.open_artifact("metadata-scan-report")
    ui.page.get_by_role("heading", name="Library scan").wait_for()
    ui.page.go_back()
    ui.open_artifact("trace")
    span = the_span(stage, run)
    assert span.attributes["task.status"] == "Completed"
    link = ui.page.get_by_role("link", name=f"Trace {span.trace_id}")
    assert link.get_attribute("href") == TRACE_URL.replace("{trace_id}", span.trace_id)

    ui.page.goto(span.attributes["prefect.flow_run.url"])
    ui.page.get_by_text("scan of Films").first.wait_for()
    assert f"/v2/runs/flow-run/{run}" in ui.page.url


def test_a_run_says_which_event_started_it(ui: PrefectUi, stage: Stage) -> None:
    trigger = "haas-media: scan what has changed"
    with stage.stack.client() as client:
        put_up(client, "http://127.0.0.1:1/")
        emit(client, CHANGED, "Films", [str(stage.film)])
    ui.page.goto("/automations")
    for name in (trigger, "haas-media: a run failed", "haas-media: a machine is gone"):
        ui.page.get_by_text(name, exact=True).first.wait_for()
    ui.picture("automations")

    ui.open_deployments()
    ui.open_deployment("metadata-scan", "on-event")
    ui.page.get_by_text(trigger, exact=True).first.wait_for()
    ui.open_new_run()
    ui.wait_for_state("Completed")
    said = ui.wait_for_log("Asked for by the event ")
    ui.picture("event-run", height=922)
    link = said.locator("xpath=..").locator("a[href*='/events/event/']").first
    ui.page.goto(str(link.get_attribute("href")))
    ui.page.get_by_text(CHANGED).first.wait_for()
    ui.picture("event")


FILES = {"source": "a.mkv", "output": "b.mkv"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("encoding/on-demand", {"source": "a.mkv"}, "'output' is a required property"),
    ("encoding/on-demand", FILES | {"output": "b.avi"}, "'b.avi' does not match"),
    ("encoding/on-demand", FILES | {"crf": 99}, "99 is greater than the maximum of 63"),
    ("encoding/on-demand", FILES | {"video_codec": "divx"}, "'divx' is not one of ['h264'"),
    ("encoding/on-demand", FILES | {"resolution": "5p"}, "'5p' is not one of ['source'"),
    ("add-to-library/on-demand", {"kind": "opera", "tmdb_id": 1}, "'opera' is not one of"),
    ("add-to-library/on-demand", {"kind": "tv", "tmdb_id": 0}, "less than the minimum of 1"),
    ("remove-from-library/on-demand", {"kind": "tv"}, "'tmdb_id' is a required property"),
    ("metadata-refresh/weekly", {"movies": "some"}, "'some' is not of type 'boolean'"),
    ("metadata-scan/hourly", {"refresh_existing": 3}, "3 is not of type 'boolean'"),
    ("person-cleanup/nightly", {"person_ids": [0]}, "0 is less than the minimum of 1"),
    ("reconcile-spans/hourly", {"lookback_days": 0}, "equal to the minimum of 0"),
]


def refusal(client: SyncPrefectClient, deployment: str, parameters: dict[str, Any]) -> str:
    """Ask for a run; return what the server answers when it makes none."""
    from prefect.exceptions import PrefectHTTPStatusError

    found = client.read_deployment_by_name(deployment)
    try:
        client.create_flow_run_from_deployment(found.id, parameters=parameters)
    except PrefectHTTPStatusError as refused:
        return refused.response.text
    return "not refused"


def test_the_server_refuses_what_is_wrong_before_a_run_starts(stage: Stage) -> None:
    with stage.stack.client() as client:
        answers = [(*case, refusal(client, *case[:2])) for case in REFUSED]
    assert [answer for answer in answers if answer[2] not in answer[3]] == []
