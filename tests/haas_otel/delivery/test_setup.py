"""The standard variables decide; an application's own provider is left as it is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from datetime import timedelta
from queue import Empty, Queue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.util._once import Once
from prefect._internal.uuid7 import uuid7
from prefect.logging.configuration import setup_logging

from haas_otel import _sdk, delivery, ids, settings
from haas_otel.delivery import setup
from haas_otel.delivery.exporters import chosen_targets, make_exporter
from haas_otel.delivery.limits import telemetry_directory
from haas_otel.delivery.logs import SpanLogHandler, loggers
from haas_otel.ids import TaskRunIdGenerator
from tests.receiver import Receiver
from tests.waits import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.haas_otel.given import LogCapture, MonkeyPatch
    from tests.haas_otel.programs import Programs

SECOND = timedelta(seconds=1)
SOON = timedelta(seconds=PATIENCE)


@pytest.fixture(autouse=True)
def _a_new_process(directory: Path, monkeypatch: MonkeyPatch) -> Iterator[None]:
    """Nothing is set up yet, as in a process that has just begun."""
    monkeypatch.setenv("HAAS_OTEL_DIR", str(directory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(setup, "_configured", False)
    monkeypatch.setattr(setup, "_processor", None)
    monkeypatch.setattr(setup, "_logs", None)
    monkeypatch.setattr(setup, "_journal", None)
    monkeypatch.setattr(setup, "_disk", None)
    yield
    _end_logs()
    provider = trace._TRACER_PROVIDER
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def _end_logs() -> None:
    """Take the handlers away that a set-up has put up, and end the thread that sends for them."""
    for name in loggers():
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if isinstance(each, SpanLogHandler)]:
            logger.removeHandler(handler)
    if setup._logs is not None:
        setup._logs.end(SOON)
    assert not [t for t in threading.enumerate() if t.name == "haas-otel-logs"]


def provider() -> TracerProvider:
    found = trace.get_tracer_provider()
    assert isinstance(found, TracerProvider)
    return found


def flush(timeout: timedelta) -> bool:
    return provider().force_flush(int(timeout.total_seconds() * 1000))


def end_a_span(name: str = "told") -> None:
    trace.get_tracer("Haas.Media.BackgroundTasks").start_span(name).end()


def test_what_was_only_stored_is_not_sent_by_a_later_process(
    processes: Programs, directory: Path
) -> None:
    processes.run("make", "1", "before")
    with Receiver().start("http/protobuf") as receiver:
        processes.run("make-and-flush", "1", "after", **receiver.environment)

        names = sorted(span.name for span in receiver.spans)
    assert names == ["after 0", "child of after 0"]


def test_switched_off_it_does_nothing(monkeypatch: MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    delivery.configure()
    end_a_span()

    assert delivery.deliver_pending(SECOND) == 0
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert not directory.exists()


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = """
import sys, haas_otel.delivery
print(*sys.modules)
haas_otel.delivery.configure()
print(*sys.modules)
"""
    exporters = "otlp,zipkin_json,azure_monitor_opentelemetry_exporter"
    told = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_TRACES_EXPORTER": exporters,
        },
    )
    imported, configured = map(str.split, told.stdout.splitlines())
    assert "haas_otel.delivery" in imported
    assert "opentelemetry.sdk._configuration" not in imported
    assert "haas_otel.delivery.setup" in configured
    senders = ("grpc", "requests", "azure", "opentelemetry.exporter")
    assert [module for module in configured if module.startswith(senders)] == []


def test_the_provider_of_the_application_gets_our_ids_and_nothing_else(directory: Path) -> None:
    own = TracerProvider()
    trace.set_tracer_provider(own)

    delivery.configure()
    delivery.configure()

    assert trace.get_tracer_provider() is own
    assert isinstance(own.id_generator, TaskRunIdGenerator)
    assert isinstance(own.id_generator._fallback, RandomIdGenerator)
    token = ids.chosen.set((5, 7))
    context = trace.get_tracer("x").start_span("y").get_span_context()
    ids.chosen.reset(token)
    assert (context.trace_id, context.span_id) == (5, 7)
    assert own._active_span_processor._span_processors == ()
    assert delivery.deliver_pending(SECOND) == 0
    assert not directory.exists()


def test_a_provider_that_is_no_sdk_s_is_left_alone() -> None:
    class Foreign(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return trace.NoOpTracer()

    foreign = Foreign()
    trace.set_tracer_provider(foreign)

    delivery.configure()

    assert trace.get_tracer_provider() is foreign


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,a=b"}, "theirs"),
        ({"OTEL_SERVICE_NAME": "caf\udce9"}, r"caf\udce9"),  # of an environment in Latin-1
    ],
)
def test_the_service_has_a_name(
    variables: dict[str, str], name: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "service_name", "haas-media")
    for key, value in variables.items():
        monkeypatch.setenv(key, value)

    delivery.configure()

    attributes = provider().resource.attributes
    assert attributes is not None
    assert attributes["service.name"] == (name or settings.service_name)
    assert attributes.get("a") == ("b" if "a=b" in str(variables) else None)


@pytest.mark.parametrize("application_has_set_one", [False, True])
@pytest.mark.parametrize(
    ("sampler", "ratio"),
    [("traceidratio", 0.1), ("parentbased_traceidratio", 0.5), ("traceidratio", 0.8)],
)
def test_a_ratio_samples_that_part_of_the_runs(
    sampler: str, ratio: float, application_has_set_one: bool, monkeypatch: MonkeyPatch
) -> None:
    """The bits of a trace id that a sampler looks at begin alike in all ids of runs."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", str(ratio))
    if application_has_set_one:
        trace.set_tracer_provider(TracerProvider())
    delivery.configure()
    tracer = trace.get_tracer("Haas.Media.BackgroundTasks")

    def sampled(flow_run_id: UUID) -> bool:
        token = ids.chosen.set((ids.trace_id_of(uuid4(), flow_run_id), 1))
        task = tracer.start_span("task")
        ids.chosen.reset(token)
        child = tracer.start_span("child", trace.set_span_in_context(task))
        decisions = [s.get_span_context().trace_flags.sampled for s in (task, child)]
        assert decisions[0] == decisions[1], "a trace is sampled as a whole"
        return decisions[0]

    for kind in (uuid4, uuid7):
        runs = [kind() for _ in range(2000)]
        decided = [sampled(run) for run in runs]
        assert abs(sum(decided) / len(runs) - ratio) < 0.06  # five standard deviations
        assert decided == [sampled(run) for run in runs], "every process decides alike"


def test_ids_that_are_no_runs_are_sampled_as_ever() -> None:
    ratio = TraceIdRatioBased(0.5)
    ours = ids.deciding_on_runs(ratio)
    generate = RandomIdGenerator().generate_trace_id
    theirs = [each for each in (generate() for _ in range(500)) if not ids.is_of_a_run(each)]
    assert [decides(ours, each) for each in theirs] == [decides(ratio, each) for each in theirs]
    assert len(theirs) > 400


def decides(sampler: Sampler, trace_id: int) -> bool:
    return sampler.should_sample(None, trace_id, "x").decision.is_sampled()


class Counting(IdGenerator):
    """Ids that count up, as a test's entry point gives them."""

    def generate_span_id(self) -> int:
        return 11

    def generate_trace_id(self) -> int:
        return 12


def test_the_id_generator_that_is_asked_for_makes_all_other_ids(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "counting")
    monkeypatch.setattr(
        "opentelemetry.sdk._configuration.entry_points",
        lambda group, name: [SimpleNamespace(load=lambda: Counting)] if name == "counting" else [],
    )

    delivery.configure()

    context = trace.get_tracer("x").start_span("y").get_span_context()
    assert (context.trace_id, context.span_id) == (12, 11)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "abc"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "many"),
    ],
)
def test_a_limit_that_is_none_is_ignored(
    monkeypatch: MonkeyPatch, caplog: LogCapture, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "5000")  # more than may wait

    delivery.configure()

    assert f"{variable}={value!r} is no" in caplog.text
    assert "could not be set up" not in caplog.text
    assert trace.get_tracer("x").start_span("y").is_recording()


def test_what_cannot_be_set_up_is_logged_and_harms_nothing(
    monkeypatch: MonkeyPatch, caplog: LogCapture
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "nosuchthing")

    delivery.configure()
    delivery.configure()

    assert caplog.text.count("OpenTelemetry could not be set up") == 1
    end_a_span()


def test_a_configuration_file_is_the_ecosystem_s_own_matter_but_for_our_ids(
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setattr(
        _sdk._OTelSDKConfigurator,
        "_configure",
        lambda self, **_: trace.set_tracer_provider(TracerProvider()),
    )

    delivery.configure()

    assert isinstance(provider().id_generator, TaskRunIdGenerator)


def test_auto_instrumentation_sets_up_the_same(directory: Path, monkeypatch: MonkeyPatch) -> None:
    """As ``opentelemetry-instrument`` does, before Prefect sets up the loggers of runs."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "console")
    setup.TaskSpanConfigurator().configure(auto_instrumentation_version="1.2")
    setup_logging(incremental=False)

    delivery.configure()
    end_a_span()

    attributes = provider().resource.attributes
    assert attributes is not None
    assert attributes["telemetry.auto.version"] == "1.2"
    assert flush(SOON)
    assert (directory / "traces.db").exists()
    assert setup._logs in logging.getLogger("prefect.task_runs").handlers


@pytest.mark.parametrize(
    ("variables", "targets"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "None", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": " otlp , console"}, ["otlp", "console"]),
        ({"OTEL_TRACES_EXPORTER": "otlp_proto_http"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "otlp,otlp_proto_grpc,"}, ["otlp"]),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp,otlp_proto_http",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            },
            ["otlp", "otlp_proto_http"],
        ),
    ],
)
def test_the_exporters_are_those_that_are_asked_for(
    variables: dict[str, str], targets: list[str], monkeypatch: MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert [target.key for target in chosen_targets()] == targets


def test_the_console_is_an_exporter_like_any_other(
    monkeypatch: MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    assert isinstance(make_exporter("console", "TRACES"), ConsoleSpanExporter)
    delivery.configure()
    end_a_span("on the console")

    assert flush(SOON)
    assert delivery.deliver_pending(SOON) == 0


def test_a_credential_provider_keeps_its_own_session(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/some/certificate.pem")
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nosuchthing")

    with pytest.raises(RuntimeError, match="nosuchthing"):
        make_exporter("otlp_proto_http", "TRACES")


def test_spans_are_kept_in_prefect_s_home_unless_told_otherwise(
    monkeypatch: MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_HOME, temporary_settings

    monkeypatch.setenv("HAAS_OTEL_DIR", "~/spans")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert telemetry_directory() == tmp_path / "spans"

    monkeypatch.setenv("HAAS_OTEL_DIR", "spans")
    monkeypatch.chdir(tmp_path)
    assert telemetry_directory() == tmp_path / "spans"
    monkeypatch.chdir("/")  # a task's body may
    assert telemetry_directory() == tmp_path / "spans"

    monkeypatch.delenv("HAAS_OTEL_DIR")
    with temporary_settings({PREFECT_HOME: tmp_path / "prefect"}):
        assert telemetry_directory() == tmp_path / "prefect" / "haas_otel"


def test_what_others_left_is_settled_when_the_tasks_of_a_flow_run_are_known(
    monkeypatch: MonkeyPatch,
) -> None:
    """A process that still imports its flow cannot call the hooks of its tasks."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Running

    from haas_otel import _prefect, flow, hooks, reconciler, records, span

    settled = Queue[bool]()
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(uuid4()))
    monkeypatch.setattr(sys, "orig_argv", ["python", *_prefect.ENGINES])
    monkeypatch.setattr(hooks, "_begun", {})
    monkeypatch.setattr(records, "disk", lambda: None)
    monkeypatch.setattr(span, "tracer", lambda: None)
    monkeypatch.setattr(reconciler, "settle_here", lambda: settled.put(True))
    imported = flow(lambda: None)
    threading.Thread(target=hooks.settle_others, daemon=True).start()
    with pytest.raises(Empty):
        settled.get(timeout=0.3)
    hooks.haas_otel_on_begun(imported, FlowRun(flow_id=uuid4()), Running())
    assert settled.get(timeout=PATIENCE)

    imported.with_options(name="made by a body")
    threading.Thread(target=hooks.settle_others, daemon=True).start()
    assert settled.get(timeout=PATIENCE)
