"""A Prefect project that has nothing to do with media, run as its owner would."""

from __future__ import annotations

import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.e2e.delivery import SCOPE
from tests.receiver import Receiver

if TYPE_CHECKING:
    from tests.e2e.prefect_processes import PrefectProcesses

PROJECT = Path(__file__).parent.parent / "elsewhere"


def test_three_lines_give_every_task_run_its_span(
    prefect: PrefectProcesses, elsewhere: Path, tmp_path: Path
) -> None:
    with Receiver().start("http/protobuf") as receiver:
        subprocess.run(
            [elsewhere / "bin" / "python", "weather.py", "Oslo", "Lima", "Atlantis"],
            cwd=PROJECT,
            env={
                **prefect.environment,
                **receiver.environment,
                "OTEL_SERVICE_NAME": "weather",
                "HAAS_OTEL_DIR": str(tmp_path),
            },
            check=False,
            capture_output=True,
        )
        receiver.wait_for(lambda spans: len(spans) >= 3, timeout=60)
        spans = sorted(receiver.spans, key=lambda span: span.start_ns)
    assert {span.scope_name for span in spans} == {SCOPE}
    assert {span.resource["service.name"] for span in spans} == {"weather"}
    assert {span.name for span in spans} == {"BackgroundTask.FetchTask"}
    assert len({span.trace_id for span in spans}) == 1
    assert [span.attributes["task.status"] for span in spans] == [
        "Completed",
        "Completed",
        "Failed",
    ]
    assert [event.name for event in spans[2].events] == [
        "task.started",
        "task.retrying",
        "task.failed",
    ]
    assert spans[2].status_description == "no weather station in Atlantis"


def test_the_wheel_brings_little_and_takes_no_name_of_others(elsewhere: Path) -> None:
    """In packages and in bytes, beside what Prefect, the SDK and its OTLP exporter bring."""
    (site,) = elsewhere.glob("lib/python*/site-packages")
    found = {canonicalize_name(each.name): each for each in distributions(path=[str(site)])}
    (top,) = {
        file.parts[0] for file in found["haas-otel"].files or [] if ".dist-info" not in str(file)
    }
    assert top == "haas_otel"

    def sizes(*names: str) -> dict[str, int]:
        needed, left = set(), set(names)
        while left:
            name = left.pop()
            needed.add(name)
            for line in found[name].requires or []:
                asked = Requirement(line)
                inner = canonicalize_name(asked.name)
                if inner in found and (
                    asked.marker is None or asked.marker.evaluate({"extra": ""})
                ):
                    left |= {inner} - needed
        return {name: sum(file.size or 0 for file in found[name].files or []) for name in needed}

    plain = sizes("prefect", "opentelemetry-sdk", "opentelemetry-exporter-otlp")
    ours = sizes("haas-otel")
    assert set(ours) > set(plain)
    assert len(ours) <= 1.2 * len(plain)
    assert sum(ours.values()) <= 1.2 * sum(plain.values())
