"""Prometheus itself reads its files, and says what is wrong. When it does, `test_counts` holds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.programs import program

GRAFANA = Path(__file__).parents[2] / "deployments" / "observability" / "grafana"
DURATION = "background_task_duration_seconds"
FAILED = f'{DURATION}_count{{task_type="EncodingTask",task_status="Failed"}}'
COMPLETED = '{task_type="EncodingTask",task_status="Completed"}'


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


def alert(
    name: str, quiet: str, fires: str, series: dict[str, str], labels: dict[str, str], **said: str
) -> dict[str, Any]:
    """Return a test of an alert over series that are sampled every ten minutes."""
    raised = {"exp_labels": labels, "exp_annotations": said}
    return {
        "interval": "10m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [
            {"alertname": name, "eval_time": quiet, "exp_alerts": []},
            {"alertname": name, "eval_time": fires, "exp_alerts": [raised]},
        ],
    }


def test_an_alert_says_what_is_wrong_and_where_to_look(files: Path) -> None:
    encoding = {"severity": "warning", "task_type": "EncodingTask"}
    tests = [
        alert(
            *("BackgroundTaskFailed", "50m", "1h"),
            {FAILED: "_x6 1+0x12"},
            encoding,
            summary="EncodingTask has failed",
            description="Its span tells why: haas traces --failed --type EncodingTask",
        ),
        alert(
            # A new installation has two hours for its first scan.
            *("LibraryScanOverdue", "1h50m", "2h10m"),
            {},
            {"severity": "critical"},
            summary="No library scan has succeeded for a day",
            description="See whether a worker runs, and why scans fail:"
            " haas traces --type MetadataScanTask",
        ),
        alert(
            # Each hour one run of 100 s, then one of 900 s.
            *("BackgroundTaskSlow", "9h50m", "10h30m"),
            {
                f"{DURATION}_count{COMPLETED}": " ".join(f"{n}+0x5" for n in range(1, 12)),
                f"{DURATION}_sum{COMPLETED}": " ".join(
                    f"{total}+0x5" for total in [*range(100, 1100, 100), 1900]
                ),
            },
            encoding,
            summary="EncodingTask takes more than twice its usual time",
            description="Last hour: 15m 0s on average.",
        ),
    ]
    plan = {"rule_files": ["alerts.yaml"], "evaluation_interval": "10m", "tests": tests}
    (files / "plan.yaml").write_text(yaml.safe_dump(plan))
    promtool("test", "rules", "plan.yaml", cwd=files)
