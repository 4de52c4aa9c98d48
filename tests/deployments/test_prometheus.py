"""Prometheus itself reads its files, answers the dashboard's queries, and raises the alerts."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from haas_otel.delivery.metrics import BUCKETS
from tests.parts import require
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GRAFANA = Path(__file__).parents[2] / "deployments" / "observability" / "grafana"
DURATION = "background_task_duration_seconds"
SCANS = f'{DURATION}_count{{task_type="MetadataScanTask",task_status="Completed"}}'
TRACE = "0af7651916cd43dd8448eb211c80319c"


def installed(program: str) -> str:
    """The path of a program of Prometheus; where it is not installed there is nothing to test."""
    require(program, found := shutil.which(program), "apt-get install prometheus")
    return str(found)


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [installed("promtool"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dashboard_queries() -> list[tuple[str, str]]:
    """Every PromQL query of the dashboard by its panel's title, with Grafana's variables put in."""
    panels = json.loads((GRAFANA / "dashboard.json").read_text())["panels"]
    return [
        (panel["title"], target["expr"].replace("$type", ".+").replace("$__range", "1h"))
        for panel in panels
        for target in panel["targets"]
        if "expr" in target
    ]


def page_queries() -> list[str]:
    """Every PromQL query of the page."""
    page = (GRAFANA.parents[2] / "docs" / "queries.md").read_text()
    found = re.findall(r"\| `([^`]*background_task_[^`]*)` \|", page)
    assert len(found) == 3
    return found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with both files, as they lie in the container but for the folder's name."""
    text = (GRAFANA / "prometheus.yaml").read_text()
    assert "/etc/prometheus/" in text
    (tmp_path / "prometheus.yaml").write_text(text.replace("/etc/prometheus", str(tmp_path)))
    shutil.copy(GRAFANA / "alerts.yaml", tmp_path)
    return tmp_path


def test_both_files_are_valid(files: Path) -> None:
    promtool("check", "config", "prometheus.yaml", cwd=files)
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml", cwd=files)


def alert_tests(files: Path, interval: str, *cases: dict[str, Any]) -> None:
    """Have promtool evaluate the rules over made-up series, sampled at this interval."""
    plan = {
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": interval,
        "tests": [{"interval": interval, **case} for case in cases],
    }
    (files / "plan.yaml").write_text(yaml.safe_dump(plan))
    promtool("test", "rules", "plan.yaml", cwd=files)


def expected(alert: str, at: str, labels: dict[str, str], **annotations: str) -> dict[str, Any]:
    return {
        "alertname": alert,
        "eval_time": at,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }


def quiet(alert: str, at: str) -> dict[str, Any]:
    return {"alertname": alert, "eval_time": at, "exp_alerts": []}


def test_a_failed_task_raises_an_alert_the_first_time_too(files: Path) -> None:
    alert = "BackgroundTaskFailed"
    fires = {
        "labels": {"severity": "warning", "task_type": "EncodingTask"},
        "summary": "EncodingTask has failed",
        "description": "Its span tells why: haas traces --failed --type EncodingTask",
    }
    series = f'{DURATION}_count{{task_type="EncodingTask",task_status="Failed"}}'
    first = {
        # Nothing for an hour; then it is there with its first failure; hours later a second.
        "input_series": [{"series": series, "values": "_x60 1+0x180 2+0x60"}],
        "alert_rule_test": [
            quiet(alert, "59m"),
            expected(alert, "65m", **fires),
            quiet(alert, "2h"),
            expected(alert, "4h5m", **fires),
            quiet(alert, "4h30m"),
        ],
    }
    cancelled = {
        "input_series": [
            {"series": series.replace("Failed", other), "values": "0+1x120"}
            for other in ("Cancelled", "Completed")
        ],
        "alert_rule_test": [quiet(alert, "1h"), quiet(alert, "2h")],
    }
    alert_tests(files, "1m", first, cancelled)


def test_a_day_without_a_scan_raises_an_alert(files: Path) -> None:
    alert = "LibraryScanOverdue"
    fires = {
        "labels": {"severity": "critical"},
        "summary": "No library scan has succeeded for a day",
        "description": "See whether a worker runs, and why scans fail:"
        " haas traces --type MetadataScanTask",
    }
    never = {
        "input_series": [],
        "alert_rule_test": [quiet(alert, "1h"), expected(alert, "3h", **fires)],
    }
    hourly = {
        "input_series": [{"series": SCANS, "values": _hourly(range(1, 40), 5)}],
        "alert_rule_test": [quiet(alert, "3h"), quiet(alert, "39h")],
    }
    stopped = {
        "input_series": [{"series": SCANS, "values": _hourly(range(1, 10), 5, hours=40)}],
        "alert_rule_test": [quiet(alert, "30h"), expected(alert, "38h", **fires)],
    }
    failing = {
        "input_series": [
            {
                "series": SCANS.replace("Completed", "Failed"),
                "values": _hourly(range(1, 40), 5),
            }
        ],
        "alert_rule_test": [expected(alert, "3h", **fires)],
    }
    alert_tests(files, "5m", never, hourly, stopped, failing)


def test_a_task_slower_than_usual_raises_an_alert(files: Path) -> None:
    alert = "BackgroundTaskSlow"

    def runs(kind: str, usual: int, last: int) -> list[dict[str, str]]:
        labels = f'{{task_type="{kind}",task_status="Completed"}}'
        sums = [usual * count for count in range(1, 100)]
        sums.append(sums[-1] + last)
        return [
            {"series": f"{DURATION}_count{labels}", "values": _hourly(range(1, 101), 10)},
            {"series": f"{DURATION}_sum{labels}", "values": _hourly(sums, 10)},
        ]

    case = {
        "input_series": [
            *runs("EncodingTask", 100, 900),
            *runs("MetadataScanTask", 100, 120),
            # Twenty times as long, and of no interest.
            *runs("AddToLibraryTask", 1, 20),
        ],
        "alert_rule_test": [
            quiet(alert, "90h"),
            {
                "alertname": alert,
                "eval_time": "99h50m",
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": "warning", "task_type": "EncodingTask"},
                        "exp_annotations": {
                            "summary": "EncodingTask takes more than twice its usual time",
                            "description": "Last hour: 15m 0s on average.",
                        },
                    }
                ],
            },
        ],
    }
    alert_tests(files, "10m", case)


def _hourly(totals: Iterable[int], minutes: int, hours: int = 0) -> str:
    """A counter with each of these totals for an hour, the last till then; a sample in minutes."""
    each = list(totals)
    each += [each[-1]] * (hours - len(each))
    return " ".join(f"{total}+0x{60 // minutes - 1}" for total in each)


class Collector:
    """What Prometheus finds at the collector after runs of all kinds, ever more with each look.

    Served as the collector's Prometheus exporter does, in OpenMetrics with exemplars.
    """

    def __init__(self) -> None:
        self._looks = 0

    def page(self) -> str:
        self._looks += 1
        kinds = ("MetadataScanTask", "EncodingTask")
        statuses = ("Completed", "Failed", "Cancelled")
        lines = [f"# TYPE {DURATION} histogram", f"# UNIT {DURATION} seconds"]
        for kind in kinds:
            for status in statuses:
                lines += self._histogram(
                    f'job="haas-media",task_type="{kind}",task_status="{status}"'
                )
        lines.append("# TYPE background_task_active gauge")
        lines += [f'background_task_active{{job="haas-media",task_type="{x}"}} 1' for x in kinds]
        return "\n".join([*lines, "# EOF", ""])

    def _histogram(self, labels: str) -> list[str]:
        """Runs of 20 seconds each."""
        exemplar = f' # {{trace_id="{TRACE}",span_id="b7ad6b7169203331"}} 20'
        lines = [
            f'{DURATION}_bucket{{{labels},le="{float(bound)}"}} {self._looks * (bound >= 20)}'
            + exemplar * (bound == 30)
            for bound in BUCKETS
        ]
        return [
            *lines,
            f'{DURATION}_bucket{{{labels},le="+Inf"}} {self._looks}',
            f"{DURATION}_sum{{{labels}}} {20 * self._looks}",
            f"{DURATION}_count{{{labels}}} {self._looks}",
        ]


@pytest.fixture
def collector_port() -> Iterator[int]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0")
            self.end_headers()
            self.wfile.write(collector.page().encode())

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Prometheus:
    """A running server, asked over its HTTP interface."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._address}/{what}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError as error:
            detail = error.read() if hasattr(error, "read") else error
            raise AssertionError(f"{what} {parameters}: {detail!r}") from error

    def has(self, query: str) -> bool:
        try:
            return bool(self.ask("query", query=query)["result"])
        except AssertionError:
            return False  # not up yet


@pytest.fixture
def prometheus(files: Path, collector_port: int) -> Iterator[Prometheus]:
    settings = (files / "prometheus.yaml").read_text()
    for original, quick in (
        ("collector:9464", f"127.0.0.1:{collector_port}"),
        ("scrape_interval: 15s", "scrape_interval: 500ms\n  scrape_timeout: 500ms"),
        ("evaluation_interval: 1m", "evaluation_interval: 500ms"),
    ):
        assert original in settings
        settings = settings.replace(original, quick)
    (files / "prometheus.yaml").write_text(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            installed("prometheus"),
            f"--config.file={files / 'prometheus.yaml'}",
            f"--storage.tsdb.path={files / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            *compose_flags(),
        ],
        stdout=subprocess.DEVNULL,
        stderr=(files / "log").open("w"),
    )
    server = Prometheus(port)
    try:
        scraped = f"count_over_time({DURATION}_count[1m]) > 4"
        wait_until(lambda: server.has(scraped), timeout=60, what="five scrapes")
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)
        print((files / "log").read_text())  # shown with what fails


def compose_flags() -> list[str]:
    """What the compose file starts it with, but for its files."""
    services = yaml.safe_load((GRAFANA / "compose.yaml").read_text())["services"]
    return [flag for flag in services["prometheus"]["command"] if "config.file" not in flag]


def test_a_running_prometheus_answers_the_dashboard_and_raises_the_alert(
    prometheus: Prometheus,
) -> None:
    queries = dashboard_queries()
    assert len(queries) == 8
    for title, query in queries:
        found = prometheus.ask("query", query=query)["result"]
        assert found, f"{title}: {query}"
        assert all(float(series["value"][1]) >= 0 for series in found), f"{title}: NaN"
    for query in page_queries():
        assert prometheus.ask("query", query=query)["result"], query
    median = next(query for title, query in queries if title.startswith("Duration"))
    for series in prometheus.ask("query", query=median)["result"]:
        assert 10 <= float(series["value"][1]) <= 30

    (label,) = [
        each["query"]["query"]
        for each in json.loads((GRAFANA / "dashboard.json").read_text())["templating"]["list"]
    ]
    metric, name = label.removeprefix("label_values(").removesuffix(")").split(", ")
    kinds = prometheus.ask(f"label/{name}/values", **{"match[]": metric})
    assert kinds == ["EncodingTask", "MetadataScanTask"]

    now = time.time()
    exemplars = prometheus.ask(
        "query_exemplars", query=f"{DURATION}_bucket", start=str(now - 60), end=str(now)
    )
    # The name by which the data source finds the trace.
    sources = yaml.safe_load((GRAFANA / "datasources.yaml").read_text())["datasources"]
    (source,) = [each for each in sources if each["type"] == "prometheus"]
    (to,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert {e["labels"][to["name"]] for x in exemplars for e in x["exemplars"]} == {TRACE}

    def firing() -> set[str]:
        alerts = prometheus.ask("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    wait_until(lambda: "BackgroundTaskFailed" in firing(), timeout=60, what="the alert")
