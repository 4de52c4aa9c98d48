"""What a scan needs is imported while Prefect asks its server: in a run's process, nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from flows import metadata_scan
metadata_scan._wait_for_imports()
print("haas_media.scan.stages" in sys.modules, "sqlalchemy" in sys.modules)
"""


@pytest.mark.parametrize("in_a_run", [True, False])
def test_a_scan_is_imported_early_in_a_runs_process_alone(in_a_run: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT__FLOW_RUN_ID"}
    if in_a_run:
        environment["PREFECT__FLOW_RUN_ID"] = "00000000-0000-0000-0000-000000000000"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{in_a_run} {in_a_run}\n", done.stderr
