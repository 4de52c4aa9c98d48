"""What is shipped for backends is right: collector files, versions, queries by their grammars."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.backends import KEY, application_insights, environment_of_azure
from tests.observability import programs
from tests.observability.programs import AZURE, FILES, ROOT, collector, program
from tests.parts import require
from tests.waits import wait_until

if TYPE_CHECKING:
    from tests.observability.real_runs import RealRuns
    from tests.received import ReceivedSpan

GRAMMARS = Path(__file__).with_name("grammars")
PAGE = (ROOT / "docs" / "queries.md").read_text()
PLACES = {
    "aspire": {"aspire:18889": "127.0.0.1:1"},
    "azure": {},
    "grafana": {"0.0.0.0:9464": "127.0.0.1:0"},
    "jaeger": {"jaeger:4317": "127.0.0.1:1"},
    "zipkin": {"zipkin:9411": "127.0.0.1:1"},
}


@pytest.mark.parametrize("backend", PLACES)
def test_the_collector_takes_its_file_and_finds_nothing_old_in_it(
    backend: str, unpacked: Path, tmp_path: Path
) -> None:
    otelcol, file = program("otelcol", unpacked), FILES / backend / "collector.yaml"
    check = [otelcol, "validate", f"--config={file}"]
    key = {AZURE: f"InstrumentationKey={KEY}"}
    done = subprocess.run(check, env=os.environ | key, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with collector(backend, tmp_path, unpacked, PLACES[backend]) as running:
        assert running.log
        said = running.log.read_text().lower()
    assert "everything is ready" in said
    assert "deprecat" not in said, said


def pins() -> dict[str, str]:
    """The versions on the page, by image."""
    page = (ROOT / "docs" / "telemetry.md").read_text()
    table = page.partition("\n## What is shipped\n")[2].partition("\n## ")[0]
    assert re.search(r"looked up on 20\d\d-\d\d-\d\d", table)
    return dict(re.findall(r"^\| `([^`]+)` \| ([^ ]+) \|", table, re.MULTILINE))


def test_images_are_those_of_the_table() -> None:
    shipped: dict[str, set[str]] = {}
    for file in FILES.glob("*/compose.yaml"):
        for service in yaml.safe_load(file.read_text())["services"].values():
            image, version = re.fullmatch(r"(.*):\$\{\w+:-(.*)\}", service["image"]).groups()  # type: ignore[union-attr]
            shipped.setdefault(image, set()).add(version)
    assert shipped == {image: {version} for image, version in pins().items()}


def test_programs_that_are_run_here_are_those_that_are_shipped(unpacked: Path) -> None:
    otelcol = [program("otelcol", unpacked), "--version"]
    said = subprocess.run(otelcol, capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == pins()["otel/opentelemetry-collector-contrib"]
    # Its jar has it in its name.
    assert pins()["openzipkin/zipkin"] == programs.ZIPKIN_VERSION


def queries() -> list[tuple[str, str]]:
    """Everything that is asked of a backend in a language of its own."""

    def on_the_page(row: str, language: str) -> list[tuple[str, str]]:
        found = re.findall(rf"^\| {row}[^|]*\| `(.*?)`", PAGE, re.MULTILINE)
        return [(language, code.replace("\\|", "|")) for code in found]

    asked = on_the_page("Azure", "KQL") + on_the_page("Tempo", "TraceQL")
    asked += on_the_page("Loki", "LogQL")
    asked += [("PromQL", code) for code in re.findall(r"\| `([^`]*background_task_[^`]*)`", PAGE)]
    grafana = FILES / "grafana"
    panels = json.loads((grafana / "dashboard.json").read_text())["panels"]
    for target in (target for panel in panels for target in panel["targets"]):
        asked += [("TraceQL", target["query"])] if "query" in target else []
        asked += [("PromQL", target["expr"].replace("$__range", "1h"))] if "expr" in target else []
    (group,) = yaml.safe_load((grafana / "alerts.yaml").read_text())["groups"]
    asked += [("PromQL", rule["expr"]) for rule in group["rules"]]
    sources = yaml.safe_load((grafana / "datasources.yaml").read_text())["datasources"]
    linked = [x["jsonData"].get("tracesToLogsV2", {}).get("query") for x in sources]
    return asked + [("LogQL", query) for query in linked if query]


def test_each_query_is_right_by_the_grammar_of_its_language() -> None:
    installed = (GRAMMARS / "node_modules").exists()
    require("npm packages", installed, f"npm install --prefix {GRAMMARS.relative_to(ROOT)}")
    asked = queries()
    done = subprocess.run(
        ["node", GRAMMARS / "check.mjs"], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = zip(asked, json.loads(done.stdout), strict=True)
    assert [(query, errors) for query, errors in answers if errors] == []
    languages = [language for language, _ in asked]
    counts = {name: languages.count(name) for name in ("KQL", "TraceQL", "LogQL", "PromQL")}
    assert counts == {"KQL": 4, "TraceQL": 4, "LogQL": 2, "PromQL": 14}


def test_tempo_and_loki_are_asked_for_what_spans_have(real_runs: RealRuns) -> None:
    """Neither is at hand: conditions of these kinds are answered here."""
    spans = real_runs.spans.values()

    def holds(span: ReceivedSpan, field: str, how: str, value: Any) -> bool:
        has = span.name if field == "name" else span.attributes[field.removeprefix("span.")]
        assert type(has) is type(value), f"{field} is no {type(value)}"  # nothing is converted
        if how == "=~":
            return bool(re.fullmatch(value, has))
        return bool(has > value) if how == ">" else has == value

    def found(query: str) -> set[str]:
        asked = re.findall(r'([\w.]+) (=~|=|>) ("[^"]*"|[\d.]+)', query.partition("}")[0])
        assert len(asked) == query.count("&&") + 1
        right = [s for s in spans if all(holds(s, x, how, json.loads(v)) for x, how, v in asked)]
        shown = re.findall(r"span\.([\w.]+)", query.partition("select")[2])
        assert all(set(shown) <= set(span.attributes) for span in right)
        return {real_runs.endings[span.trace_id] for span in right}

    traceql = [query for language, query in queries() if language == "TraceQL"]
    failed, slow, scans, panel = traceql
    assert found(failed) == found(panel) == {"failed", "killed", "addition that fails"}
    assert "select" in panel
    assert found(slow) == set()
    assert found(slow.replace("300000.0", "0.0")) == set(real_runs.endings.values())
    assert found(scans) == {"completed", "failed"}
    logql = [query for language, query in queries() if language == "LogQL"]
    for name in re.findall(r'service_name="(.*?)"', "".join(logql)):
        assert {name} == {span.resource["service.name"] for span in spans}


def test_azure_gets_what_its_queries_ask_for(
    real_runs: RealRuns, unpacked: Path, tmp_path: Path
) -> None:
    with application_insights() as server:
        azure = environment_of_azure(server)[AZURE]
        with collector("azure", tmp_path, unpacked, {}, azure=azure) as to:
            for signal, request in real_runs.requests:
                to.post(signal, request.SerializeToString())
            spans = lambda: [x for x in server.items if x["name"].endswith("RemoteDependency")]  # noqa: E731
            wait_until(lambda: len(spans()) >= len(real_runs.endings), what="all spans at Azure")
            logs = lambda: [x for x in server.items if x["name"].endswith("Message")]  # noqa: E731
            traces = lambda: {x["tags"]["ai.operation.id"] for x in logs()}  # noqa: E731
            wait_until(lambda: traces() >= set(real_runs.endings), what="lines at Azure")
    rows = [envelope["data"]["baseData"] | {"tags": envelope["tags"]} for envelope in spans()]

    def found(query: str) -> set[str]:
        """Answer a query of the page, whose conditions are of these kinds."""
        right = rows
        for prefix in re.findall(r'name startswith "([^"]*)"', query):
            right = [row for row in right if row["name"].startswith(prefix)]
        for key, value in re.findall(r'tostring\(customDimensions\["(.*?)"\]\) == "(.*?)"', query):
            right = [row for row in right if row["properties"][key] == value]
        for key, value in re.findall(r'todouble\(customDimensions\["(.*?)"\]\) > (\d+)', query):
            right = [row for row in right if float(row["properties"][key]) > float(value)]
        return {real_runs.endings[row["tags"]["ai.operation.id"]] for row in right}

    failed, slow, scans, _ = [query for language, query in queries() if language == "KQL"]
    assert found(failed) == {"failed", "killed", "addition that fails"}
    assert found(slow) == set()
    assert found(slow.replace("300000", "0")) == set(real_runs.endings.values())
    assert found(scans) == {"completed", "failed"}
    for row in rows:
        failed_here = row["properties"]["task.status"] == "Failed"
        assert ("task.exception.message" in row["properties"]) is failed_here
    assert traces() - {""} == set(real_runs.endings)  # what delivery says is of no run
