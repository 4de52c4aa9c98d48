"""What docs/queries.md tells to type is typed here, where the program is at hand."""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider

from haas_otel._settings import settings
from haas_otel.delivery.limits import Limits
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
RUNS = [
    ("MetadataScanTask", "Completed", 420),
    ("MetadataScanTask", "Failed", 3),
    ("EncodingTask", "Failed", 900),
    ("EncodingTask", "Completed", 299),
    ("PersonCleanupTask", "Cancelled", 1),
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A store with these runs, each with a trace of its own."""
    processor = DurableSpanProcessor(Journal(tmp_path), (), Limits())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer(settings.scope, "0.1.0")
    for number, (kind, status, seconds) in enumerate(RUNS):
        told = {
            "task.id": f"01932b4e-7890-7abc-def0-{number:012x}",
            "task.type": kind,
            "task.status": status,
            "task.duration_ms": seconds * 1000.0,
        }
        begun = 1_760_000_000_000_000_000 + number
        span = tracer.start_span(f"BackgroundTask.{kind}", start_time=begun, attributes=told)
        span.end(begun + seconds * 1_000_000_000)
    processor.shutdown(timedelta(seconds=10))
    return tmp_path


CASES: dict[str, Callable[[str, str, int], bool]] = {
    "haas traces --failed": lambda _, status, __: status == "Failed",
    "haas traces --slower-than 5m": lambda _, __, seconds: seconds > 300,
    "haas traces --type MetadataScanTask": lambda kind, _, __: kind == "MetadataScanTask",
    "haas traces --failed --slower-than 5m --type EncodingTask": lambda kind, status, seconds: (
        kind == "EncodingTask" and status == "Failed" and seconds > 300
    ),
}


def test_every_line_of_the_page_is_run() -> None:
    lines = set(re.findall(r"`(haas traces --[^`]*)`", PAGE))
    assert lines == set(CASES)


def test_each_line_finds_what_it_asks_for(directory: Path) -> None:
    for line, wanted in CASES.items():
        done = warm().run(
            *("-m", "deployments.cli", *shlex.split(line)[1:], "--json"),
            env={"PATH": "", "HOME": str(directory), "HAAS_OTEL_DIR": str(directory)},
            cwd=directory,
        )
        assert done.returncode == 0, done.stderr
        found = {
            (told["task.type"], told["task.status"], told["task.duration_ms"])
            for told in (span["attributes"] for span in json.loads(done.stdout))
        }
        assert found == {(k, s, t * 1000.0) for k, s, t in RUNS if wanted(k, s, t)}, line


def test_five_minutes_are_the_same_in_every_unit() -> None:
    section = PAGE.partition("## Slower than five minutes")[2].partition("## One kind")[0]
    assert "span.task.duration_ms > 300000.0 }" in section  # a double needs its point
    assert "`300000000` (microseconds)" in section
    assert 'todouble(customDimensions["task.duration_ms"]) > 300000`' in section
    assert "`5m`" in section
    assert "`Duration (ms)` `>` `300000`" in section
    clicked = re.findall(r"(?:minDuration=|:gt:)(\w+)", section)
    assert clicked == ["5m", "300000000", "300000"]
