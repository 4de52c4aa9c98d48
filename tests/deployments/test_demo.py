"""`haas demo`, from beginning to end, as somebody meets it who has just cloned the repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deployments.reports import prose_of, table_of
from tests.deployments.conftest import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.samples import SampleLibrary
    from tests.deployments.conftest import Command

TASKS = [
    "MetadataScanTask",
    "EncodingTask",
    "MetadataScanTask",  # of what the encoding wrote, in its trace
    "RemoveFromLibraryTask",
    "PersonCleanupTask",
]


@pytest.mark.e2e
def test_the_demo(haas: Command, samples: SampleLibrary, tmp_path: Path) -> None:
    foreign = {"HAAS_LIBRARIES": "not even JSON", "HAAS_TMDB_TOKEN": "not to be used"}
    home = tmp_path / "demo"
    shutil.copytree(samples.root, home / "library")  # what is there is not made again
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "demo", "--port", "0", "--directory", "demo"],
        env=clean_environment(tmp_path / "prefect") | {"PYTHONPATH": str(ROOT)} | foreign,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "Traceback" not in done.stdout
    assert "25 clips in demo/library" in done.stdout
    assert done.stdout.count("Completed in") == len(TASKS)
    assert "Found 25 files" in done.stdout
    assert "incoming/8f3a9c2e71d04b55.mkv" in done.stdout
    assert "2 to whom no title refers were deleted, 1 kept" in done.stdout
    assert re.findall(r"BackgroundTask\.(\w+) +█+ ", done.stdout) == TASKS
    assert "runs, worker and server have ended" in done.stdout
    assert (home / "library/films/Big Buck Bunny (2008)/Big.Buck.Bunny.2008.480p.mkv").exists()

    # What it says to look around with, works.
    del haas.environment["HAAS_DATA_DIR"]
    haas.environment["HAAS_CONFIG"] = "demo/haas.toml"
    spans = json.loads(haas("traces", "--json").out)
    assert [span["attributes"]["task.type"] for span in spans] == TASKS[::-1]
    assert "Metropolis" in haas("library").out


def test_a_report_without_its_tables_and_commands() -> None:
    markdown = (
        "# Scan\n\nFound it.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
        "The command:\n\n```\nffmpeg -i x\n```\n\n## Unmatched\n\n- x: why\n"
    )
    assert prose_of(markdown) == "Found it.\n\n## Unmatched\n\n- x: why"


def test_a_wide_table_is_turned() -> None:
    rows = [{"library": name, **{f"count_{n}": n for n in range(9)}} for name in ("A", "all")]
    turned = table_of(rows)
    assert [column.header for column in turned.columns] == ["", "A", "all"]
    assert list(turned.columns[0].cells) == [f"count {n}" for n in range(1, 9)]  # 0 is left out
    assert [column.header for column in table_of([{"a": 1, "b": "x"}]).columns] == ["a", "b"]
