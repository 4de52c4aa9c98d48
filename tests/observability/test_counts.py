"""Every expression of the dashboard, the alerts and the page counts right, from the first run on.

Runs go through our own delivery and the real collector with its file; a real Prometheus answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
import yaml

from haas_otel.delivery.metrics import BUCKETS
from tests.browser.conftest import browser, chromium, pictures  # noqa: F401 - fixtures
from tests.e2e.prefect_processes import free_port
from tests.observability.programs import FILES, ROOT, collector, program, prometheus, replaced
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.observability.programs import Backend

GRAFANA = FILES / "grafana"
HOUR, DAY, SCRAPE = 3600, 86400, 300
WINDOWS = {"10m": 600, "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY}
RESTART = "restart"
SCAN, ENCODING, CLEANUP = "MetadataScanTask", "EncodingTask", "PersonCleanupTask"


@dataclass(frozen=True)
class Run:
    """A finished run: seconds after the beginning, what it was, how long it took in seconds."""

    at: float
    kind: str
    status: str
    seconds: float

    @property
    def seen(self) -> float:
        """When it is scraped first."""
        return (self.at // SCRAPE + 1) * SCRAPE


# Every scan but the third takes about a minute. Runs with one time are of processes at once.
HISTORY: list[Run | tuple[float, str]] = [
    *(Run(day * DAY + HOUR, SCAN, "Completed", 50 + day) for day in (0, 1, 3, 5, 6, 7)),
    Run(2 * DAY + HOUR, SCAN, "Failed", 2),
    Run(6 * DAY + 2 * HOUR, SCAN, "Completed", 700),
    # The first run of its kind, and the only one that fails for a week.
    Run(2 * HOUR, ENCODING, "Failed", 400),
    Run(7 * DAY + 3 * HOUR, ENCODING, "Failed", 0.3),
    *(Run(DAY + 2 * HOUR, ENCODING, "Completed", each) for each in (30, 299, 301, 5000, 50_000)),
    Run(DAY + 3 * HOUR, ENCODING, "Cancelled", 12),
    # Totals that look the same before and after: one failure, a restart, one failure.
    Run(4 * DAY + 10, CLEANUP, "Failed", 1),
    (4 * DAY + SCRAPE + 10, RESTART),
    Run(4 * DAY + SCRAPE + 20, CLEANUP, "Failed", 3),
    # Lost: it was told when the collector had been scraped last.
    Run(4 * DAY + 5 * HOUR + 10, CLEANUP, "Completed", 5),
    (4 * DAY + 5 * HOUR + 20, RESTART),
]
LOST = 4 * DAY + 5 * HOUR + 10


def send(to: Backend, folder: Path, *processes: list[Run]) -> None:
    """Have runs end in processes that live at the same time, and send their counts."""
    outputs = [(folder / f"output-{number}").open("w+") for number in range(len(processes))]
    started = [
        warm().start(
            str(ROOT / "tests/observability/finished_runs.py"),
            json.dumps([(run.kind, run.status, run.seconds) for run in runs]),
            env=os.environ
            | {
                "HAAS_OTEL_DIR": str(folder / "otel"),
                "OTEL_EXPORTER_OTLP_ENDPOINT": to.http,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            },
            cwd=folder,
            files=(output, output, output),
        )
        for runs, output in zip(processes, outputs, strict=True)
    ]
    for each, output in zip(started, outputs, strict=True):
        code = each.wait()
        output.seek(0)
        assert code == 0, output.read()
        output.close()


class Page:
    """The real collector's page for Prometheus; it can be restarted, at the same ports."""

    def __init__(self, folder: Path, unpacked: Path) -> None:
        self._folder, self._unpacked = folder, unpacked
        self.port, self._otlp = free_port(), free_port()
        self._running: Any = None
        self.restart()

    def restart(self) -> None:
        self.stop()
        places = {"0.0.0.0:9464": f"127.0.0.1:{self.port}"}
        self._running = collector("grafana", self._folder, self._unpacked, places, self._otlp)
        self.collector: Backend = self._running.__enter__()

    def stop(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)

    def series(self) -> dict[str, str]:
        """Each series of task runs with its value."""
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        url = f"http://127.0.0.1:{self.port}/metrics"
        text = httpx.get(url, headers=accept, timeout=60).text
        lines = (line.partition(" # ")[0] for line in text.splitlines())
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("background_task_d"))

    def seen(self, count: int) -> bool:
        """Whether so many runs are on the page since the collector started."""
        found = self.series().items()
        return sum(float(value) for name, value in found if "_seconds_count" in name) == count


@pytest.fixture
def page(tmp_path: Path, unpacked: Path) -> Iterator[Page]:
    page = Page(tmp_path / "collector", unpacked)
    yield page
    page.stop()


def scraped(page: Page, folder: Path, begin: int) -> Iterator[str]:
    """Play the history; yield what scrapes of it find, as lines with times."""
    events = sorted(HISTORY, key=lambda each: each[0] if isinstance(each, tuple) else each.at)
    told, now, series = 0, 0.0, page.series()
    for event in [*events, (8 * DAY, "end")]:
        at = event[0] if isinstance(event, tuple) else event.at
        while now + SCRAPE <= at:
            now += SCRAPE
            yield from (f"{name} {value} {begin + now:.0f}\n" for name, value in series.items())
        if isinstance(event, Run):
            together = [run for run in events if isinstance(run, Run) and run.at == at]
            if event is together[0]:
                send(page.collector, folder, *([run] for run in together))
                told += len(together)
                wait_until(lambda told=told: page.seen(told), what=f"{told} runs on the page")
        elif event[1] == RESTART:
            page.restart()
            told = 0
        series = page.series()


@pytest.fixture
def history(page: Page, tmp_path: Path) -> Iterator[tuple[Backend, int]]:
    """A server that has scraped the history, and when that began."""
    begin = (int(time.time()) - 9 * DAY) // DAY * DAY
    with (tmp_path / "scraped").open("w") as lines:
        lines.writelines(scraped(page, tmp_path, begin))
        lines.write("# EOF\n")
    load = ("tsdb", "create-blocks-from", "--max-block-duration=240h", "openmetrics")
    done = subprocess.run(
        [program("promtool", tmp_path), *load, "scraped", "data"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "prometheus.yaml").write_text("{}")
    with prometheus(tmp_path, tmp_path / "prometheus.yaml", tmp_path / "data") as server:
        yield server, begin


def ask(server: Backend, query: str, at: float | None = None) -> dict[tuple[str, ...], float]:
    """The values that a query has, by their labels without names; noughts are left out."""
    time_ = {} if at is None else {"time": str(at)}
    found = server.get("/api/v1/query", query=query, **time_)["data"]["result"]
    values = {
        tuple(each["metric"][name] for name in sorted(each["metric"], reverse=True)): each["value"]
        for each in found
    }
    assert not [key for key, value in values.items() if value[1] == "NaN"], query
    return {key: float(value[1]) for key, value in values.items() if float(value[1])}


def count_by(*fields: str) -> Callable[[list[Run]], dict[tuple[str, ...], float]]:
    def count(runs: list[Run]) -> dict[tuple[str, ...], float]:
        return dict(Counter(tuple(getattr(run, field) for field in fields) for run in runs))

    return count


def means(runs: list[Run]) -> dict[tuple[str, ...], float]:
    kinds: dict[str, list[float]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run.seconds)
    return {(kind,): sum(each) / len(each) for kind, each in kinds.items()}


def of(status: str = "", kind: str = "") -> Callable[[Run], bool]:
    return lambda run: status in ("", run.status) and kind in ("", run.kind)


ALL, BY_KIND = of(), count_by("kind")
# What is asked; of which time, of which runs, and what of them.
COUNTS: dict[str, tuple[str, Callable[[Run], bool], Callable[[list[Run]], Any]]] = {
    "Runs in this time": ("$__range", ALL, count_by("status")),
    "Failed in this time": ("$__range", of("Failed"), BY_KIND),
    "Runs of the last hour, by type and status": ("1h", ALL, count_by("kind", "status")),
    "Mean duration in the last six hours": ("6h", ALL, means),
    "failed runs of the last day, by type": ("1d", of("Failed"), BY_KIND),
    "runs of more than five minutes, of the last day": ("1d", lambda x: x.seconds > 300, BY_KIND),
}
ACTIVE = {"Active tasks", "Active tasks by type"}
QUANTILES = "Duration in the last six hours: median and 95th percentile"
SCANS = "how long one kind of task takes: 95th percentile"


def test_nothing_is_asked_that_is_not_checked() -> None:
    assert set(expressions()) == {*COUNTS, *ACTIVE, QUANTILES, SCANS}


def expressions() -> dict[str, list[str]]:
    """The dashboard's PromQL by the titles of its panels, the page's by its questions."""
    panels = json.loads((GRAFANA / "dashboard.json").read_text())["panels"]
    found = {
        panel["title"]: [each["expr"].replace("$type", ".+") for each in panel["targets"]]
        for panel in panels
        if panel["datasource"]["type"] == "prometheus"
    }
    page = (ROOT / "docs" / "queries.md").read_text()
    rows = re.findall(r"^\| (.*) \| `([^`]*background_task_[^`]*)` \|$", page, re.MULTILINE)
    return found | {question: [query] for question, query in rows}


def alerts() -> dict[str, str]:
    (group,) = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def quantiles(runs: list[Run], share: float) -> dict[tuple[str, ...], tuple[float, float]]:
    """Between which bounds a quantile of each kind lies."""
    found = {}
    for kind in {run.kind for run in runs}:
        each = sorted(run.seconds for run in runs if run.kind == kind)
        place = bisect_left(BUCKETS, each[max(0, -int(-share * len(each) // 1) - 1)])
        found[(kind,)] = ((0.0, *BUCKETS)[place], (*BUCKETS, BUCKETS[-1])[place])
    return found


def test_every_count_of_eight_days_is_exact(
    history: tuple[Backend, int],
    browser: Browser,  # noqa: F811
    pictures: Path,  # noqa: F811
) -> None:
    server, begin = history
    runs = [run for run in HISTORY if isinstance(run, Run) and run.at != LOST]
    asked, rules = expressions(), alerts()
    moments = {run.seen + later for run in runs for later in (0, HOUR, DAY)}
    moments |= {day * DAY for day in range(1, 9)}
    for at in sorted(moment for moment in moments if moment <= 8 * DAY):

        def told(query: str, at: float = at) -> dict[tuple[str, ...], float]:
            # Windows of Prometheus 2 have both their ends, those of Prometheus 3 one.
            return ask(server, query, begin + at + 1)

        def within(seconds: float, right: Callable[[Run], bool] = ALL, at: float = at) -> list[Run]:
            return [run for run in runs if at - seconds < run.seen <= at and right(run)]

        for title, (window, right, truth) in COUNTS.items():
            for span in WINDOWS if window == "$__range" else [window]:
                expected = truth(within(WINDOWS[span], right))
                found = told(asked[title][0].replace("$__range", span))
                assert found == pytest.approx(expected), f"{title}, {span} until {at}"

        queries = zip((0.5, 0.95), asked[QUANTILES], strict=True)
        for share, query, chosen in (
            *((share, query, within(6 * HOUR)) for share, query in queries),
            (0.95, asked[SCANS][0], within(DAY, of(kind=SCAN))),
        ):
            found, bounds = told(query), quantiles(chosen, share)
            assert len(found) == len(bounds), f"{query} at {at}"
            for key, value in found.items():
                low, high = bounds[key or (SCAN,)]
                assert low <= value <= high, f"{query} of {key} at {at}"

        assert told(rules["BackgroundTaskFailed"]) == BY_KIND(within(600, of("Failed")))
        overdue = server.get(
            "/api/v1/query", query=rules["LibraryScanOverdue"], time=str(begin + at + 1)
        )["data"]["result"]
        assert bool(overdue) == (not within(DAY, of("Completed", SCAN)))
        usual, last = (means(within(time_, of("Completed"))) for time_ in (7 * DAY, HOUR))
        slow = {kind: mean for kind, mean in last.items() if mean > max(2 * usual[kind], 60)}
        assert told(rules["BackgroundTaskSlow"]) == pytest.approx(slow), at

    _look(server, begin, asked["failed runs of the last day, by type"][0], browser, pictures)


def _look(server: Backend, begin: int, query: str, browser: Browser, pictures: Path) -> None:  # noqa: F811
    """See a query of the page drawn by Prometheus itself."""
    end = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(begin + 8 * DAY))
    graph = {"expr": query, "tab": "0", "range_input": "8d", "end_input": end}
    words = urlencode({f"g0.{name}": value for name, value in graph.items()})
    page = browser.new_page(viewport={"width": 1280, "height": 800}, timezone_id="UTC")
    page.goto(f"{server.api}/graph?{words}")
    for kind in (SCAN, ENCODING, CLEANUP):
        page.get_by_text(re.compile(f'task_type="?{kind}|task_type: "?{kind}')).first.wait_for()
    page.screenshot(path=pictures / "prometheus-failed.png")
    page.close()


def test_the_dashboard_counts_live_and_through_a_restart_of_the_collector(
    page: Page, tmp_path: Path
) -> None:
    settings = replaced(
        (GRAFANA / "prometheus.yaml").read_text(),
        **{
            "/etc/prometheus/alerts.yaml": GRAFANA / "alerts.yaml",
            "collector:9464": f"127.0.0.1:{page.port}",
            "scrape_interval: 15s": "scrape_interval: 2s\n  scrape_timeout: 2s",
            "evaluation_interval: 1m": "evaluation_interval: 2s",
        },
    )
    (tmp_path / "prometheus.yaml").write_text(settings)
    runs = [
        *(Run(0, kind, "Failed", 20) for kind in (SCAN, ENCODING, CLEANUP)),
        *(Run(0, SCAN, "Completed", 20) for _ in range(2)),
        Run(0, ENCODING, "Cancelled", 20),
    ]
    asked = expressions()
    counted = asked["Runs in this time"][0].replace("$__range", "1h")
    with prometheus(tmp_path, tmp_path / "prometheus.yaml", tmp_path / "data") as server:
        for times in (1, 2, 3):
            send(page.collector, tmp_path, runs[:3], runs[3:])
            expected = {("Completed",): 2 * times, ("Failed",): 3 * times, ("Cancelled",): times}
            wait_until(lambda told=expected: ask(server, counted) == told, what=f"{expected}")
            if times < 3:
                # At once: no scrape need fall between, and what is told after looks as before.
                page.restart()

        for title in ACTIVE:  # they have ended
            values = server.get("/api/v1/query", query=asked[title][0])["data"]["result"]
            assert {x["metric"]["task_type"]: x["value"][1] for x in values} == dict.fromkeys(
                (SCAN, ENCODING, CLEANUP), "0"
            )
        (variable,) = json.loads((GRAFANA / "dashboard.json").read_text())["templating"]["list"]
        metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])[0]
        kinds = server.get(f"/api/v1/label/{label}/values", **{"match[]": metric})["data"]
        assert kinds == sorted((SCAN, ENCODING, CLEANUP))

        # The name by which the data source finds the trace.
        sources = yaml.safe_load((GRAFANA / "datasources.yaml").read_text())["datasources"]
        (source,) = [each for each in sources if each["type"] == "prometheus"]
        (to,) = source["jsonData"]["exemplarTraceIdDestinations"]
        median = asked[QUANTILES][0]
        hour = {"start": str(time.time() - HOUR), "end": str(time.time())}
        exemplars = server.get("/api/v1/query_exemplars", query=median, **hour)["data"]
        assert exemplars
        assert all(e["labels"][to["name"]] for each in exemplars for e in each["exemplars"])

        def firing() -> set[str]:
            told = server.get("/api/v1/alerts")["data"]["alerts"]
            return {each["labels"]["alertname"] for each in told if each["state"] == "firing"}

        wait_until(lambda: "BackgroundTaskFailed" in firing(), what="the alert")
