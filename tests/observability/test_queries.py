"""The queries of the page, read from the page, asked of real backends after real runs.

Each backend gets the runs directly and, under other ids, through the collector with the backend's
file; and all of them again as if they had taken ten minutes more.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.observability import programs
from tests.observability.programs import ROOT, collector
from tests.observability.real_runs import RealRuns, renamed, renamed_zipkin, salted
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized
    from pathlib import Path

    from tests.observability.programs import Backend

PAGE = (ROOT / "docs" / "queries.md").read_text()
LONGER = 600
# The ids of what came: directly, through the collector; and of what took longer, of each.
SALTS = {("directly", 0): 0, ("collector", 0): 1 << 40}
SALTS |= {(way, LONGER): salt | 1 << 50 for (way, _), salt in SALTS.items()}
QUESTIONS: dict[str, Callable[[str, int], bool]] = {
    "Failed tasks": lambda ending, _: ending in ("failed", "killed", "addition that fails"),
    "Slower than five minutes": lambda _, longer: longer == LONGER,
    "One kind of task": lambda ending, _: ending in ("completed", "failed"),
}


def cell(question: str, backend: str) -> str:
    """What the page says to ask a backend: the rest of its row in the question's table."""
    section = PAGE.partition(f"\n## {question}\n")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {re.escape(backend)}[^|]*\| (.*) \|$", section, re.MULTILINE)
    return str(row)


def codes(question: str, backend: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell(question, backend))


def address(question: str, backend: str) -> tuple[str, dict[str, str]]:
    """The path and the parameters of the address to click."""
    (found,) = re.findall(r"\]\((http[^)]*)\)", cell(question, backend))
    parts = urlsplit(found)
    return f"{parts.path}?{parts.query}", dict(parse_qsl(parts.query))


@dataclass(frozen=True)
class Filled:
    """A backend with all runs in it."""

    backend: Backend
    runs: RealRuns

    def expected(self, question: str) -> set[str]:
        """The traces that a question is to find."""
        return {
            salted(bytes.fromhex(trace), salt).hex()
            for (_, longer), salt in SALTS.items()
            for trace, ending in self.runs.endings.items()
            if QUESTIONS[question](ending, longer)
        }

    @property
    def spans(self) -> dict[str, tuple[str, str, int]]:
        """By trace, what each run's span is: its id, its name, its duration in microseconds."""
        return {
            salted(bytes.fromhex(trace), salt).hex(): (
                salted(bytes.fromhex(span.span_id), salt).hex(),
                span.name,
                (span.end_ns - span.start_ns) // 1000 + longer * 1_000_000,
            )
            for (_, longer), salt in SALTS.items()
            for trace, span in self.runs.spans.items()
        }


def sent_at_once(request: Any) -> Any:
    """Return a request of metrics whose exemplars are of now, as when it is sent at once."""
    copy = type(request)()
    copy.CopyFrom(request)
    for of_resource in copy.resource_metrics:
        for scope in of_resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.histogram.data_points:
                    for exemplar in point.exemplars:
                        exemplar.time_unix_nano = time.time_ns()
    return copy


def fill(to: Backend, runs: RealRuns, way: str, signals: tuple[str, ...]) -> None:
    """Send the runs by OTLP, under the ids of this way."""
    for signal, request in runs.requests:
        if signal == "metrics" and signal in signals:
            to.post(signal, sent_at_once(request).SerializeToString())
        elif signal in signals:
            for longer in (0, LONGER):
                salt = SALTS[way, longer]
                to.post(signal, renamed(request, salt, longer).SerializeToString())


def filled_through_collector(
    to: Backend,
    runs: RealRuns,
    name: str,
    folder: Path,
    unpacked: Path,
    place: dict[str, str],
    found: Callable[[Filled], Sized],
) -> Filled:
    """Send the runs through the collector with the backend's file; wait until all are found."""
    with collector(name, folder / "collector", unpacked, place) as sender:
        fill(sender, runs, "collector", ("traces", "metrics", "logs"))
        filled = Filled(to, runs)
        wait_until(lambda: len(found(filled)) == len(filled.spans), what="all runs")
    return filled


@pytest.fixture(scope="module")
def jaeger(
    real_runs: RealRuns, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("jaeger")
    with programs.jaeger(folder, unpacked) as backend:
        fill(backend, real_runs, "directly", ("traces",))
        place = {"jaeger:4317": backend.grpc}
        yield filled_through_collector(
            backend, real_runs, "jaeger", folder, unpacked, place, jaeger_traces
        )


def jaeger_traces(jaeger: Filled, **parameters: str) -> set[str]:
    common = {"service": "haas-media", "lookback": "2d", "limit": "1000"}
    found = jaeger.backend.get("/api/traces", **(common | parameters))["data"]
    return {trace["traceID"] for trace in found}


def test_jaeger_has_each_run_once_and_true(jaeger: Filled) -> None:
    for trace, expected in jaeger.spans.items():
        (found,) = jaeger.backend.get(f"/api/traces/{trace}", raw="true")["data"]
        tasks = [each for each in found["spans"] if each["operationName"].startswith("Background")]
        assert [(x["spanID"], x["operationName"], x["duration"]) for x in tasks] == [expected]


@pytest.mark.parametrize("question", QUESTIONS)
def test_jaeger_finds_what_the_page_asks(jaeger: Filled, question: str) -> None:
    def parameter(code: str) -> dict[str, str]:
        if "=" in code:
            return {"tags": json.dumps(dict([code.split("=")]))}
        return {"operation" if code.startswith("BackgroundTask.") else "minDuration": code}

    asked = [parameter(code) for code in codes(question, "Jaeger")]
    _, to_click = address(question, "Jaeger")
    for parameters in (*asked, to_click):
        assert jaeger_traces(jaeger, **parameters) == jaeger.expected(question), parameters


def test_jaeger_turns_error_around_as_the_page_says(jaeger: Filled) -> None:
    assert "`error=true` finds what did **not** fail" in PAGE
    found = jaeger_traces(jaeger, tags='{"error": "true"}')
    assert found
    assert not found & jaeger.expected("Failed tasks")


@pytest.fixture(scope="module")
def zipkin(
    real_runs: RealRuns, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("zipkin")
    with programs.zipkin(folder, unpacked) as backend:
        for longer in (0, LONGER):
            salt = SALTS["directly", longer]
            spans = [renamed_zipkin(span, salt, longer) for span in real_runs.zipkin]
            answer = httpx.post(f"{backend.api}/api/v2/spans", json=spans, timeout=60)
            assert answer.status_code == 202, answer.text
        place = {"zipkin:9411": backend.api.removeprefix("http://")}
        yield filled_through_collector(
            backend, real_runs, "zipkin", folder, unpacked, place, zipkin_traces
        )


def zipkin_traces(zipkin: Filled, **parameters: str) -> set[str]:
    common = {"serviceName": "haas-media", "lookback": str(2 * 86_400_000), "limit": "1000"}
    found = zipkin.backend.get("/api/v2/traces", **(common | parameters))
    return {trace[0]["traceId"] for trace in found}


def test_zipkin_has_each_run_once_and_true(zipkin: Filled) -> None:
    for trace, (span_id, name, duration) in zipkin.spans.items():
        found = zipkin.backend.get(f"/api/v2/trace/{trace}")
        tasks = [each for each in found if each["name"].startswith("background")]
        assert [(x["id"], x["name"]) for x in tasks] == [(span_id, name.lower())]
        assert abs(tasks[0]["duration"] - duration) <= 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_zipkin_finds_what_the_page_asks(zipkin: Filled, question: str) -> None:
    def parameter(code: str) -> dict[str, str]:
        if "=" in code:
            return {"annotationQuery": code}
        return {"spanName" if code.startswith("background") else "minDuration": code}

    asked = [parameter(code) for code in codes(question, "Zipkin")]
    _, to_click = address(question, "Zipkin")
    del to_click["lookback"]  # in words there
    for parameters in (*asked, to_click):
        assert zipkin_traces(zipkin, **parameters) == zipkin.expected(question), parameters
