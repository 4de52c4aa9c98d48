"""Prometheus itself reads its files, and raises the alerts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.observability.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterable

GRAFANA = Path(__file__).parents[2] / "deployments" / "observability" / "grafana"
DURATION = "background_task_duration_seconds"
SCANS = f'{DURATION}_count{{task_type="MetadataScanTask",task_status="Completed"}}'


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [program("promtool", cwd), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
