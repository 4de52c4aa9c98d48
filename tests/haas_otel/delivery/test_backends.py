"""Real runs at servers that speak what Application Insights and Zipkin take."""

from __future__ import annotations

import logging
import threading
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest

from haas_otel.delivery.exporters import make_exporter
from haas_otel.delivery.store import TraceStore
from tests.backends import (
    KEY,
    Answer,
    JsonServer,
    application_insights,
    environment_of_azure,
    environment_of_zipkin,
    zipkin,
)
from tests.haas_otel.waits import waiting
from tests.receiver import Receiver
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.haas_otel.given import LogCapture, MakeSpan, MonkeyPatch
    from tests.haas_otel.programs import Programs


def of_kind(server: JsonServer, kind: str) -> list[dict[str, Any]]:
    """The envelopes of a kind, as their data with the tags beside it."""
    return [
        {**envelope["data"]["baseData"], "tags": envelope["tags"]}
        for envelope in server.items
        if envelope["data"]["baseType"] == kind
    ]


def test_application_insights_gets_all_of_a_failed_run(
    runs: Programs, directory: Path, tmp_path: Path
) -> None:
    with application_insights() as server:
        variables = environment_of_azure(server, "TRACES", "METRICS", "LOGS")
        held = runs.start("fail", HOLD="", **variables, TMPDIR=str(tmp_path))
        assert held.stdout.readline() == "held\n"
        wait_until(lambda: of_kind(server, "ExceptionData") and waiting(directory) == 0)
        _, errors = held.communicate("go\n")

    (stored,) = TraceStore(directory).tasks()
    (told,) = of_kind(server, "RemoteDependencyData")
    assert told["name"] == "BackgroundTask.EncodingTask"
    assert (told["tags"]["ai.operation.id"], told["id"]) == (stored.trace_id, stored.span_id)
    assert told["success"] is False
    # Its exporter leaves out what it takes for its own; by way of a collector they are there.
    assert set(told["properties"]) == {
        key for key in stored.attributes if not key.startswith("exception.")
    }

    texts = {each["message"]: each for each in of_kind(server, "MessageData")}
    assert {"task.started", "task.failed"} <= set(texts)
    (logged,) = [
        each
        for each in of_kind(server, "ExceptionData")
        if each["exceptions"][0]["message"] == "it went wrong"
    ]
    assert logged["tags"]["ai.operation.id"] == stored.trace_id
    assert logged["tags"]["ai.operation.parentId"] == stored.span_id

    counts = [
        (metric["value"], metric["count"], each["properties"])
        for each in of_kind(server, "MetricData")
        for metric in each["metrics"]
        if metric["name"] == "background_task.duration"
    ]
    seconds = pytest.approx(stored.attributes["task.duration_ms"] / 1000)
    assert counts == [(seconds, 1, {"task.type": "EncodingTask", "task.status": "Failed"})]

    assert KEY not in errors
    assert list(tmp_path.glob("Microsoft*")) == []


def test_zipkin_gets_the_span_that_otlp_gets(runs: Programs) -> None:
    with zipkin() as server, Receiver().start("http/protobuf") as receiver:
        variables = {**receiver.environment, **environment_of_zipkin(server)}
        runs.run("fail", HOLD="", **variables | {"OTEL_TRACES_EXPORTER": "otlp, zipkin_json"})

    (told,) = server.items
    (span,) = receiver.spans
    assert (told["traceId"], told["id"], told["name"]) == (span.trace_id, span.span_id, span.name)
    assert told["timestamp"] == span.start_ns // 1000
    assert told["duration"] == (span.end_ns - span.start_ns) // 1000
    for key, value in span.attributes.items():
        assert told["tags"][key] == str(value)
    assert told["tags"]["error"] == span.status_description
    notes = [note["value"] for note in told["annotations"]]
    assert [name in note for name, note in zip(("task.started", "task.failed"), notes, strict=True)]


@pytest.mark.parametrize("backend", ["azure", "zipkin"])
def test_what_a_backend_that_is_down_misses_comes_later_and_once(
    backend: str, runs: Programs, processes: Programs, directory: Path, tmp_path: Path
) -> None:
    with application_insights() if backend == "azure" else zipkin() as server:
        variables = (
            environment_of_azure(server, "TRACES", "METRICS")
            if backend == "azure"
            else environment_of_zipkin(server)
        )
        variables["TMPDIR"] = str(tmp_path)
        server.go_down()
        first = runs.run("run", "3", **variables)
        assert server.items == []
        assert "not delivered yet" in first.stderr

        server.come_up()
        again = processes.run("deliver", "60", **variables)

    stored = sorted(span.span_id for span in TraceStore(directory).tasks())
    if backend == "azure":
        told = [span["id"] for span in of_kind(server, "RemoteDependencyData")]
        counted = [
            metric["count"]
            for each in of_kind(server, "MetricData")
            for metric in each["metrics"]
            if metric["name"] == "background_task.duration"
        ]
        assert sum(counted) == 3
    else:
        told = [span["id"] for span in server.items]
    assert len(stored) == 3
    assert sorted(told) == stored
    assert KEY not in first.stderr + again.stderr
    assert list(tmp_path.glob("Microsoft*")) == []


@pytest.mark.parametrize("name", ["azure_monitor_opentelemetry_exporter", "zipkin_json"])
def test_an_exporter_that_is_not_installed_is_told_with_what_brings_it(
    name: str, monkeypatch: MonkeyPatch
) -> None:
    from opentelemetry.sdk import _configuration

    (found,) = entry_points(group="opentelemetry_traces_exporter", name=name)
    monkeypatch.setattr(_configuration, "entry_points", lambda **_: [])
    with pytest.raises(RuntimeError, match=f"pip install {found.dist.name}$"):
        make_exporter(name, "TRACES")
    with pytest.raises(RuntimeError) as other:
        make_exporter("unheard_of", "TRACES")
    assert "pip install" not in str(other.value)


def test_azure_without_its_connection_string_says_what_to_set(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.delenv("APPLICATIONINSIGHTS_CONNECTION_STRING", raising=False)

    with pytest.raises(ValueError, match="APPLICATIONINSIGHTS_CONNECTION_STRING is not set"):
        make_exporter("azure_monitor_opentelemetry_exporter", "TRACES")


def all_but_b(envelopes: list[Any]) -> Answer:
    """Refuse the spans of this name."""
    errors = [
        {"index": index, "statusCode": 400, "message": "for a test"}
        for index, envelope in enumerate(envelopes)
        if envelope["data"]["baseData"].get("name") == "b"
    ]
    count = len(envelopes)
    answer = {"itemsReceived": count, "itemsAccepted": count - len(errors), "errors": errors}
    return Answer(206 if errors else 200, answer)


@pytest.fixture
def azure(monkeypatch: MonkeyPatch) -> Iterator[tuple[JsonServer, Any]]:
    with JsonServer("/v2.1/track", all_but_b) as server:
        for name, value in environment_of_azure(server, "TRACES").items():
            monkeypatch.setenv(name, value)
        exporter = make_exporter("azure_monitor_opentelemetry_exporter", "TRACES")
        yield server, exporter
        exporter.shutdown()


def test_azure_is_told_nothing_about_the_exporter_itself(azure: Any, make_span: MakeSpan) -> None:
    """Threads of its own would send that, to others than the endpoint that is given."""
    server, exporter = azure
    exporter.export([make_span()])

    threads = {thread.name for thread in threading.enumerate()}
    threads.discard("EventsWorkerThread")  # Prefect's
    assert [name for name in threads if "Periodic" in name or "Worker" in name] == []
    assert {each["data"]["baseType"] for each in server.items} == {
        "RemoteDependencyData",
        "MessageData",
    }


def test_an_item_refused_is_logged_without_the_key(
    azure: Any, make_span: MakeSpan, caplog: LogCapture
) -> None:
    _, exporter = azure
    caplog.set_level(logging.WARNING)

    exporter.export([make_span("a"), make_span("b")])
    assert "Data drop 400: for a test" in caplog.text
    assert "***" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in str([record.args for record in caplog.records])
