"""All three signals of real runs in real processes, at a real receiver."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from haas_otel.delivery.metrics import send_never_began
from tests.chaos import CHAOS
from tests.haas_otel.waits import waiting
from tests.received import _attributes
from tests.receiver import Protocol, Receiver
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.haas_otel.given import MonkeyPatch
    from tests.haas_otel.programs import Programs, Started


LINES = {"file 0 of the body", "the library's own line 0"}


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return request.param


@pytest.fixture
def http() -> Iterator[Receiver]:
    """For what does not depend on how the requests are made."""
    with Receiver().start("http/protobuf") as started:
        yield started


def points(receiver: Receiver, name: str) -> list[tuple[dict[str, Any], Any]]:
    """Every data point of a metric in order of arrival, with its attributes."""
    found = []
    for resource_metrics in receiver.metrics:
        for scope in resource_metrics.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    data = getattr(metric, metric.WhichOneof("data"))
                    found += [(_attributes(point.attributes), point) for point in data.data_points]
    return found


def counted(receiver: Receiver) -> Counter[tuple[str, str]]:
    """How many runs the histogram has, by type and status."""
    total: Counter[tuple[str, str]] = Counter()
    for labels, point in points(receiver, "background_task.duration"):
        assert set(labels) == {"task.type", "task.status"}
        total[labels["task.type"], labels["task.status"]] += point.count
    return total


def active(receiver: Receiver) -> list[int]:
    """The numbers of active tasks in their order; one that stays is told again now and then."""
    told = (point.as_int for _, point in points(receiver, "background_task.active"))
    return [number for number, _ in groupby(told)]


def lines(receiver: Receiver) -> list[Any]:
    return [
        record
        for resource_logs in receiver.logs
        for scope in resource_logs.scope_logs
        for record in scope.log_records
        if not record.event_name
    ]


def events(receiver: Receiver) -> list[tuple[str, tuple[str, str], dict[str, Any]]]:
    """The events of task runs: their names, ids, and attributes of the contract."""
    return [
        (
            line.event_name,
            (line.trace_id.hex(), line.span_id.hex()),
            {
                key: value
                for key, value in _attributes(line.attributes).items()
                if key.startswith(("task.", "prefect."))
            },
        )
        for line in receiver.events
    ]


def texts(receiver: Receiver) -> set[str]:
    return {line.body.string_value for line in lines(receiver)}


def let_go(directory: Path, *held: Started) -> None:
    """Let programs exit that are started with HOLD, once all spans and counts are out."""
    for each in held:
        assert each.stdout.readline() == "held\n", each.communicate()
    wait_until(lambda: waiting(directory) == 0)
    for each in held:
        each.communicate("go\n")
    assert [each.returncode for each in held] == [0] * len(held)


def check_three_signals(receiver: Receiver) -> None:
    (span,) = receiver.spans
    assert counted(receiver) == {("MetadataScanTask", "Completed"): 1}
    ((_, point),) = points(receiver, "background_task.duration")
    assert point.sum * 1000 == pytest.approx(span.attributes["task.duration_ms"])
    resources = [span.resource, *(_attributes(x.resource.attributes) for x in receiver.metrics)]
    resources += [_attributes(x.resource.attributes) for x in receiver.logs]
    names = {"service.name", *(f"telemetry.sdk.{x}" for x in ("language", "name", "version"))}
    assert all(each == span.resource and set(each) == names for each in resources)
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == (span.trace_id, span.span_id)
    written = {line.body.string_value: line for line in lines(receiver)}
    assert "not ours" not in written
    for text in LINES:
        (line,) = (each for each in lines(receiver) if each.body.string_value == text)
        assert (line.trace_id.hex(), line.span_id.hex()) == (span.trace_id, span.span_id)
        assert span.start_ns <= line.time_unix_nano <= span.end_ns
    of_run = _attributes(written["file 0 of the body"].attributes)
    assert of_run["task_run_id"] == span.attributes["task.id"]
    assert of_run["flow_run_id"] == span.attributes["prefect.flow_run.id"]


def test_all_three_signals_of_one_run(protocol: Protocol, runs: Programs, tmp_path: Path) -> None:
    """Within the half second of its end: on a busy machine, of one of some runs."""
    for number in range(20):
        with Receiver().start(protocol) as receiver:
            runs.run("run", HAAS_OTEL_DIR=str(tmp_path / f"{number}"), **receiver.environment)
        if receiver.spans and counted(receiver) and texts(receiver) >= LINES:
            break

    check_three_signals(receiver)


def test_all_three_signals_with_tls_and_headers(
    protocol: Protocol, runs: Programs, directory: Path, tmp_path: Path
) -> None:
    headers = {"authorization": "let-me-in"}
    # Set on machines behind a company's proxy; requests would prefer it.
    proxy = {"REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"}
    with Receiver().start(protocol, tls_directory=tmp_path, required_headers=headers) as receiver:
        held = runs.start("run", HOLD="", **proxy, **receiver.environment)
        wait_until(lambda: "the library's own line 0" in texts(receiver))
        let_go(directory, held)

        check_three_signals(receiver)
        assert {r.signal for r in receiver.requests} == {"traces", "metrics", "logs"}


def test_a_failed_run_is_counted_as_such_and_its_exception_is_in_the_log(
    http: Receiver, runs: Programs, directory: Path
) -> None:
    held = runs.start("fail", HOLD="", **http.environment)
    wait_until(lambda: "it went wrong" in texts(http))
    let_go(directory, held)

    assert counted(http) == {("EncodingTask", "Failed"): 1}
    (line,) = [x for x in lines(http) if x.body.string_value == "it went wrong"]
    told = _attributes(line.attributes)
    assert (told["exception.type"], told["exception.message"]) == ("LookupError", "no such film")
    assert "raise LookupError" in told["exception.stacktrace"]
    assert line.severity_text == "ERROR"


@pytest.mark.parametrize("command", ["fail", "called", "stumble"])
def test_every_line_of_a_run_is_in_its_trace(http: Receiver, runs: Programs, command: str) -> None:
    """What Prefect's engine writes, the errors above all, is written outside of the span."""
    own = {"PREFECT__FLOW_RUN_ID": str(uuid4()), **http.environment}
    held = runs.start(command, HOLD="", **own)
    wait_until(lambda: any(text.startswith("Finished in state") for text in texts(http)))
    held.communicate("go\n")

    written = [(line, _attributes(line.attributes)) for line in lines(http)]
    assert {line.severity_text for line, _ in written} >= {"ERROR", "INFO"}
    (flow_run,) = {told["flow_run_id"].replace("-", "") for _, told in written}
    wait_until(lambda: command != "called" or len(http.spans) == 2)
    callers = {span.span_id: span.trace_id for span in http.spans if span.name == "caller"}
    assert {line.trace_id.hex() for line, _ in written} == set(callers.values() or [flow_run])
    for line, told in written:
        task_run = told.get("task_run_id", "").replace("-", "")
        assert line.span_id.hex() == (task_run[16:] or next(iter(callers), "")), told
    assert (command == "stumble") is not any("task_run_id" in told for _, told in written)


def test_what_a_flow_logs_before_its_first_task_is_sent_from_a_runs_own_process(
    http: Receiver, runs: Programs
) -> None:
    runs.run("talk", **http.environment)
    assert lines(http) == []  # the application's own process, which may set up later

    own = runs.start("talk", HOLD="", PREFECT__FLOW_RUN_ID=str(uuid4()), **http.environment)
    wait_until(lambda: "before any task" in texts(http))
    own.communicate("go\n")
    (line,) = [x for x in lines(http) if x.body.string_value == "before any task"]
    assert "flow_run_id" in _attributes(line.attributes)


@pytest.mark.parametrize(("exporters", "taken"), [("otlp,prometheus", 1), ("prometheus", 0)])
def test_what_never_began_is_counted_whatever_else_is_asked_for(
    http: Receiver, monkeypatch: MonkeyPatch, exporters: str, taken: int
) -> None:
    for name, value in (http.environment | {"OTEL_METRICS_EXPORTER": exporters}).items():
        monkeypatch.setenv(name, value)
    assert send_never_began("a flow", "cancelled") == taken
    assert len(points(http, "background_task.not_started")) == taken


def test_the_number_of_active_tasks_goes_up_while_one_runs_and_down_after(
    http: Receiver, runs: Programs, directory: Path
) -> None:
    process = runs.start("wait", HOLD="", **http.environment)
    assert process.stdout.readline() == "running\n"
    wait_until(lambda: active(http) == [1])
    wait_until(lambda: events(http))
    [(name, ids, told)] = events(http)
    assert name == "background_task.started"
    assert "task.status" not in told
    process.stdin.write("go\n")
    let_go(directory, process)

    (span,) = http.spans
    assert ids == (span.trace_id, span.span_id)
    of_run = {k: v for k, v in span.attributes.items() if k.startswith(("task.", "prefect."))}
    [_, (name, ended, at_end)] = events(http)
    assert (name, ended) == ("background_task.ended", ids)
    assert at_end == of_run
    assert told.items() <= of_run.items()
    assert active(http) == [1, 0]
    assert counted(http) == {("PersonCleanupTask", "Completed"): 1}


def test_a_killed_process_takes_its_active_task_with_it(
    http: Receiver, runs: Programs, directory: Path
) -> None:
    killed, other = (runs.start("wait", HOLD="", **http.environment) for _ in range(2))
    for process in (killed, other):
        assert process.stdout.readline() == "running\n"
    wait_until(lambda: 2 in active(http))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    other.stdin.write("go\n")
    let_go(directory, other)

    assert active(http)[-1] == 0


def test_many_runs_make_no_series_of_their_own_and_none_is_lost(
    http: Receiver, runs: Programs, directory: Path
) -> None:
    numbers = ((1, 1, 47), (1, 1, 49)) if CHAOS else ((1, 2), (1, 8))
    for together in numbers:
        let_go(
            directory,
            *(runs.start("run", str(count), HOLD="", **http.environment) for count in together),
        )

    assert counted(http) == {("MetadataScanTask", "Completed"): sum(map(sum, numbers))}
    assert len({str(r.resource) for r in http.logs}) == 1
    series = {
        (
            tuple(sorted(_attributes(r.resource.attributes).items())),
            metric.name,
            tuple(sorted(_attributes(point.attributes).items())),
        )
        for r in http.metrics
        for scope in r.scope_metrics
        for metric in scope.metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    }
    assert Counter(name for _, name, _ in series) == {
        "background_task.duration": 1,
        "background_task.active": 1,
        "process.cpu.time": 2,
        "process.memory.usage": 1,
    }


def test_counts_wait_for_a_collector_that_is_down(http: Receiver, processes: Programs) -> None:
    http.set_fault("503")
    processes.run("make-and-flush", "5", **http.environment)
    assert http.metrics == []

    http.set_fault(None)
    processes.run("deliver", "60", **http.environment)

    assert counted(http) == {("ExampleTask", "Completed"): 5}


def test_sums_where_they_are_asked_for_hold_every_run_once(
    http: Receiver, runs: Programs, directory: Path
) -> None:
    cumulative = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}
    let_go(directory, runs.start("run", "3", HOLD="", **cumulative, **http.environment))

    told = [point for _, point in points(http, "background_task.duration")]
    assert told[-1].count == 3
    temporalities = {
        metric.histogram.aggregation_temporality
        for r in http.metrics
        for scope in r.scope_metrics
        for metric in scope.metrics
        if metric.name == "background_task.duration"
    }
    assert temporalities == {2}  # AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.mark.parametrize(
    "off",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "haas_otel"}],
    ids=["the SDK", "this instrumentation"],
)
def test_both_switches_turn_all_of_it_off(
    http: Receiver, runs: Programs, off: dict[str, str], directory: Path
) -> None:
    runs.run("run", HOLD="", **http.environment, **off)

    assert http.connections == 0
    assert not directory.exists()


def test_each_signal_can_be_left_out(runs: Programs, tmp_path: Path) -> None:
    signals = {"traces", "metrics", "logs"}
    with ExitStack() as stack:
        receivers = {
            name: stack.enter_context(Receiver().start("http/protobuf")) for name in signals
        }
        held = {
            left_out: runs.start(
                "run",
                HOLD="",
                HAAS_OTEL_DIR=str(tmp_path / left_out),
                **{f"OTEL_{left_out.upper()}_EXPORTER": "none"},
                **receiver.environment,
            )
            for left_out, receiver in receivers.items()
        }
        for left_out, receiver in receivers.items():
            # What is sent first does not matter: there is time for all of it.
            wait_until(lambda r=receiver: len({each.signal for each in r.requests}) == 2)
            let_go(tmp_path / left_out, held[left_out])
            assert {each.signal for each in receiver.requests} == signals - {left_out}


def test_a_backend_that_takes_spans_only_is_told_of_once(
    protocol: Protocol, processes: Programs
) -> None:
    with Receiver().start(protocol, signals=("traces",)) as receiver:
        first = processes.run("make-and-flush", "3", **receiver.environment)
        again = processes.run("deliver", "30", **receiver.environment)

        assert len(receiver.spans) == 6
    assert first.stderr.count("the collector takes no metrics") == 1
    assert "not delivered yet" not in again.stderr
