"""The Aspire Dashboard after real runs, in the browser, as the page says to use it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.browser.conftest import browser, chromium, pictures  # noqa: F401 - fixtures
from tests.observability import programs
from tests.observability.real_runs import RealRuns, renamed
from tests.observability.test_queries import (
    PAGE,
    QUESTIONS,
    Filled,
    address,
    cell,
    fill,
    filled_through_collector,
)
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from tests.observability.programs import Backend

(DURATION,) = re.findall(r"http://127.0.0.1:18888(/metrics/[^)]*)", PAGE)


@pytest.fixture(scope="module")
def aspire(
    real_runs: RealRuns, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("aspire")
    with programs.aspire(folder, unpacked) as backend:
        fill(backend, real_runs, "directly", ("traces", "logs"))
        place = {"aspire:18889": backend.grpc}
        yield filled_through_collector(
            backend, real_runs, "aspire", folder, unpacked, place, lambda _: tasks(backend)
        )


def tasks(aspire: Backend) -> list[dict[str, str]]:
    """The spans of runs, as the dashboard's API has them."""
    found = aspire.get("/api/telemetry/spans", limit="100000")["data"]["resourceSpans"]
    return [
        span
        for resource in found
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["name"].startswith("BackgroundTask.")
    ]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811
    with browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="UTC") as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


def shown(page: Page, aspire: Filled, path: str) -> set[str]:
    """Open a list of traces; return those that it has, once they are as many as it says."""
    page.goto(aspire.backend.api + path)
    cells = page.locator("td[title*='Trace Id:']")

    def all_there() -> list[str]:
        draw_rows(page)
        titles = cells.evaluate_all("all => all.map(each => each.title)")
        return titles if len(titles) == number_shown(page) else []

    return {title.rpartition(" ")[2] for title in wait_until(all_there, what=path)}


def draw_rows(page: Page) -> None:
    """Have the rows drawn that are in sight, which the page finds out by a change of its size."""
    for height in (300, 2500):
        page.set_viewport_size({"width": 1280, "height": height})
        page.wait_for_timeout(300)


def row_with(page: Page, text: str) -> Locator:
    found = page.get_by_role("row").filter(has_text=text)

    def is_there() -> bool:
        draw_rows(page)
        return found.count() > 0

    wait_until(is_there, what=f"a row with {text}")
    return found


def number_shown(page: Page) -> int:
    footer = page.get_by_text(re.compile(r"Showing\s+[\d.,]+\s+trace")).last
    footer.wait_for()
    return int(re.sub(r"\D", "", footer.inner_text()))


def test_each_run_is_there_once_and_true(aspire: Filled) -> None:
    found = {
        span["traceId"]: (
            span["spanId"],
            span["name"],
            (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) // 1000,
        )
        for span in tasks(aspire.backend)
    }
    assert len(tasks(aspire.backend)) == len(found)
    assert found == aspire.spans


@pytest.mark.parametrize("question", QUESTIONS)
def test_aspire_finds_what_the_page_asks(aspire: Filled, page: Page, question: str) -> None:
    path, parameters = address(question, "Aspire Dashboard")
    words = re.sub(r"[`*]", "", cell(question, "Aspire Dashboard").partition(";")[0])
    field, how, value = unquote(parameters["filters"]).split(":")
    names = {"trace.duration": "Duration (ms)", "gt": ">"}
    assert words == f"filter {names.get(field, field)} {names.get(how, how)} {value}"
    assert shown(page, aspire, path) == aspire.expected(question)


@pytest.mark.parametrize("ending", ["failed", "cancelled", "killed"])
def test_from_a_span_to_its_error_line_is_one_click(
    aspire: Filled,
    page: Page,
    ending: str,
    pictures: Path,  # noqa: F811
) -> None:
    (trace,) = [trace for trace, each in aspire.runs.endings.items() if each == ending]
    page.goto(f"{aspire.backend.api}/traces/detail/{trace}")
    page.wait_for_load_state("networkidle")  # before that a click opens nothing
    row_with(page, "BackgroundTask.").locator("fluent-button").last.click()
    page.get_by_role("menuitem", name="Structured logs").click()
    row_with(page, "background_task.started")
    page.goto(f"{page.url}&logLevel=error")
    row_with(page, "Error")
    page.set_viewport_size({"width": 1280, "height": 700})
    page.screenshot(path=pictures / f"aspire-{ending}.png")


def test_the_duration_metric_has_each_run_and_its_exemplar_through_the_collector(
    aspire: Filled,
    page: Page,
    pictures: Path,  # noqa: F811
) -> None:
    page.goto(aspire.backend.api + DURATION)
    count = len(aspire.runs.endings)
    drawn = "document.querySelector('.js-plotly-plot')?.data?.find((x) => x.name === 'Exemplars')"
    page.wait_for_function(f"() => {drawn}?.y?.length === {count}")
    page.screenshot(path=pictures / "aspire-duration.png")
    page.get_by_label("Show count").click()
    page.get_by_role("tab", name="Table", exact=True).click()
    page.get_by_role("gridcell", name=re.compile(rf"^{count}\b")).first.wait_for()


def test_every_line_is_in_the_trace_of_its_run(aspire: Filled) -> None:
    found = aspire.backend.get("/api/telemetry/logs", limit="10000")["data"]["resourceLogs"]
    # What delivery says of a busy collector is of no run.
    scopes = [scope for resource in found for scope in resource["scopeLogs"]]
    of_runs = [x for x in scopes if not x["scope"]["name"].startswith("haas_otel.delivery")]
    records = [record for scope in of_runs for record in scope["logRecords"]]
    assert len(records) > 60
    assert {record.get("traceId") for record in records} == set(aspire.spans)


def test_twelve_thousand_runs_are_one_service_and_all_there(
    real_runs: RealRuns, unpacked: Path, tmp_path: Path, page: Page
) -> None:
    runs, together = 12_000, 100
    spans = [
        request
        for signal, request in real_runs.requests
        if signal == "traces" and request.resource_spans
    ]
    each = sum(
        span.name.startswith("BackgroundTask.")
        for request in spans
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    with programs.aspire(tmp_path, unpacked) as backend:
        before = len(tasks(backend))  # none but at an address
        for first in range(0, runs // each, together):
            batch = type(spans[0])()
            for salt in range(first, min(first + together, runs // each)):
                for request in spans:
                    batch.MergeFrom(renamed(request, (salt + 1) << 51))
            backend.post("traces", batch.SerializeToString())
        assert [x["name"] for x in backend.get("/api/telemetry/resources")] == ["haas-media"]
        assert len({span["traceId"] for span in tasks(backend)}) == before + runs
        page.goto(f"{backend.api}/traces")
        # On a busy machine the page is there before its rows are.
        wait_until(lambda: number_shown(page) == before + runs, what="all on the page")
