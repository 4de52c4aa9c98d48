"""All three signals of real runs in real processes, at a real receiver."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.received import _attributes
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.haas_otel.delivery.conftest import Runs

PROGRAM = Path(__file__).with_name("signals_program.py")
# What does not depend on how the requests are made is tested with one protocol.
ONE_PROTOCOL = pytest.mark.parametrize("receiver", ["http/protobuf"], indirect=True)
MAKER = Path(__file__).with_name("program.py")


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
    """The numbers of active tasks that were told, in their order."""
    return [point.as_int for _, point in points(receiver, "background_task.active")]


def lines(receiver: Receiver) -> list[Any]:
    return [
        record
        for resource_logs in receiver.logs
        for scope in resource_logs.scope_logs
        for record in scope.log_records
    ]


def wait_until(true: Callable[[], object], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.05)


def check_three_signals(receiver: Receiver) -> None:
    (span,) = receiver.spans
    assert counted(receiver) == {("MetadataScanTask", "Completed"): 1}
    ((_, point),) = points(receiver, "background_task.duration")
    assert point.sum * 1000 == pytest.approx(span.attributes["task.duration_ms"])
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == (span.trace_id, span.span_id)
    written = {line.body.string_value: line for line in lines(receiver)}
    assert "not ours" not in written
    for text in ("file 0 of the body", "the library's own line 0"):
        line = written[text]
        assert (line.trace_id.hex(), line.span_id.hex()) == (span.trace_id, span.span_id)
        assert span.start_ns <= line.time_unix_nano <= span.end_ns
    of_run = _attributes(written["file 0 of the body"].attributes)
    assert of_run["task_run_id"] == span.attributes["task.id"]
    assert of_run["flow_run_id"] == span.attributes["prefect.flow_run.id"]


def test_all_three_signals_of_one_run(receiver: Receiver, runs: Runs) -> None:
    runs.run("run", **receiver.environment)

    check_three_signals(receiver)


def test_all_three_signals_with_tls_and_headers(runs: Runs, tmp_path: Path) -> None:
    for number, protocol in enumerate(("grpc", "http/protobuf")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Receiver().start(
            protocol,  # type: ignore[arg-type]
            tls_directory=folder,
            required_headers={"authorization": "let-me-in"},
        ) as receiver:
            runs.run("run", **receiver.environment)

            check_three_signals(receiver)
            assert {r.signal for r in receiver.requests} == {"traces", "metrics", "logs"}


@ONE_PROTOCOL
def test_a_failed_run_is_counted_as_such_and_its_exception_is_in_the_log(
    receiver: Receiver, runs: Runs
) -> None:
    runs.run("fail", **receiver.environment)

    assert counted(receiver) == {("EncodingTask", "Failed"): 1}
    (line,) = [x for x in lines(receiver) if x.body.string_value == "it went wrong"]
    told = _attributes(line.attributes)
    assert (told["exception.type"], told["exception.message"]) == ("LookupError", "no such film")
    assert "raise LookupError" in told["exception.stacktrace"]
    assert line.severity_text == "ERROR"


def test_what_a_flow_logs_before_its_first_task_is_sent_from_a_runs_own_process(
    runs: Runs,
) -> None:
    with Receiver().start("http/protobuf") as receiver:
        runs.run("talk", **receiver.environment)
        assert lines(receiver) == []  # the application's own process, which may set up later

        runs.run("talk", PREFECT__FLOW_RUN_ID=str(uuid4()), **receiver.environment)
        (line,) = [x for x in lines(receiver) if x.body.string_value == "before any task"]
        assert "flow_run_id" in _attributes(line.attributes)


@ONE_PROTOCOL
def test_the_number_of_active_tasks_goes_up_while_one_runs_and_down_after(
    receiver: Receiver, runs: Runs
) -> None:
    process = runs.start("wait", **receiver.environment)
    assert process.stdout
    assert process.stdout.readline() == "running\n"
    wait_until(lambda: active(receiver) == [1])
    process.communicate("go\n", timeout=60)

    assert active(receiver) == [1, 0]
    assert counted(receiver) == {("PersonCleanupTask", "Completed"): 1}


@ONE_PROTOCOL
def test_a_killed_process_takes_its_active_task_with_it(receiver: Receiver, runs: Runs) -> None:
    killed, other = (runs.start("wait", **receiver.environment) for _ in range(2))
    for process in (killed, other):
        assert process.stdout
        assert process.stdout.readline() == "running\n"
    wait_until(lambda: 2 in active(receiver))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    other.communicate("go\n", timeout=60)

    assert active(receiver)[-1] == 0


@ONE_PROTOCOL
def test_a_span_told_by_another_process_counts_once_and_leaves_none_active(
    receiver: Receiver, runs: Runs
) -> None:
    runs.run("make", "2", program=MAKER, **receiver.environment)

    # These start and end in the same instant, as the spans that a hook's process tells.
    assert counted(receiver) == {("ExampleTask", "Completed"): 2}
    assert active(receiver)[-1] == 0


def test_a_hundred_runs_make_no_series_of_their_own_and_none_is_lost(runs: Runs) -> None:
    with Receiver().start("http/protobuf") as receiver:
        for together in (("1", "1", "47"), ("1", "1", "49")):
            started = [runs.start("run", count, **receiver.environment) for count in together]
            for process in started:
                process.communicate(timeout=120)
        # Of those that ended on a busy machine, some may have left theirs for another process.
        runs.run("deliver", "60", program=MAKER, **receiver.environment)

    assert counted(receiver) == {("MetadataScanTask", "Completed"): 100}
    assert len({str(r.resource) for r in receiver.logs}) == 1
    series = {
        (
            tuple(sorted(_attributes(r.resource.attributes).items())),
            metric.name,
            tuple(sorted(_attributes(point.attributes).items())),
        )
        for r in receiver.metrics
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


@ONE_PROTOCOL
def test_counts_wait_for_a_collector_that_is_down(receiver: Receiver, runs: Runs) -> None:
    receiver.set_fault("503")
    runs.run("make", "5", program=MAKER, **receiver.environment)
    assert receiver.metrics == []

    receiver.set_fault(None)
    runs.run("deliver", "60", program=MAKER, **receiver.environment)

    assert counted(receiver) == {("ExampleTask", "Completed"): 5}


@ONE_PROTOCOL
def test_sums_where_they_are_asked_for_hold_every_run_once(receiver: Receiver, runs: Runs) -> None:
    runs.run(
        "run",
        "3",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="cumulative",
        **receiver.environment,
    )

    told = [point for _, point in points(receiver, "background_task.duration")]
    assert told[-1].count == 3
    temporalities = {
        metric.histogram.aggregation_temporality
        for r in receiver.metrics
        for scope in r.scope_metrics
        for metric in scope.metrics
        if metric.name == "background_task.duration"
    }
    assert temporalities == {2}  # AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.mark.parametrize("fault", ["silent", "hang"])
def test_a_faulty_collector_does_not_hold_up_the_end(
    receiver: Receiver, runs: Runs, fault: Any
) -> None:
    process = runs.start("make-and-wait", "3", program=MAKER, **receiver.environment)
    assert process.stdout
    assert process.stdout.readline() == "made\n"
    receiver.set_fault(fault)
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    began = time.monotonic()
    process.wait(timeout=60)
    # Stock exporters take 7 to 30 seconds. Of this much most is a busy machine's own.
    assert time.monotonic() - began < 6
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    "off",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "haas_otel"}],
    ids=["the SDK", "this instrumentation"],
)
def test_both_switches_turn_all_of_it_off(runs: Runs, off: dict[str, str], directory: Path) -> None:
    with Receiver().start("http/protobuf") as receiver:
        runs.run("run", **receiver.environment, **off)

        assert receiver.connections == 0
    assert not directory.exists()


@pytest.mark.parametrize(
    ("signal_", "left"),
    [
        ("METRICS", {"traces", "logs"}),
        ("LOGS", {"traces", "metrics"}),
        ("TRACES", {"metrics", "logs"}),
    ],
)
def test_each_signal_can_be_left_out(runs: Runs, signal_: str, left: set[str]) -> None:
    with Receiver().start("http/protobuf") as receiver:
        runs.run("run", **receiver.environment, **{f"OTEL_{signal_}_EXPORTER": "none"})

        assert {request.signal for request in receiver.requests} == left


def test_without_an_endpoint_nothing_leaves_the_machine(runs: Runs, directory: Path) -> None:
    errors = runs.run("run")

    assert (directory / "traces.db").exists()
    assert "Traceback" not in errors
    assert not (directory / "active").exists()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_backend_that_takes_spans_only_is_told_of_once(
    runs: Runs, protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import receiver as receivers

    traces = {"traces": receivers._SERVICES["traces"]}
    monkeypatch.setattr(receivers, "_SERVICES", traces)
    monkeypatch.setattr(receivers, "_MESSAGES", {"traces": receivers._MESSAGES["traces"]})
    with Receiver().start(protocol) as receiver:
        errors = runs.run("make", "3", program=MAKER, **receiver.environment)
        again = runs.run("deliver", "30", program=MAKER, **receiver.environment)

        assert len(receiver.spans) == 6
    # On a busy machine the first may have ended before it could ask.
    told = [text.count("the collector takes no metrics") for text in (errors, again)]
    assert max(told) == 1
    assert "not delivered yet" not in again
