"""What is used of Prefect and of OpenTelemetry's SDK that they do not call public is there."""

from __future__ import annotations

import ast
import inspect
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from prefect.client.orchestration import PrefectClient
from prefect.context import TagsContext

import haas_otel
from haas_otel import _prefect, _sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = sorted(Path(haas_otel.__file__).parent.rglob("*.py"))
OWN = ("self", "cls", "super()", "_sdk", "_prefect")
# Of Python itself, some of which it calls public.
PYTHONS = (
    *("_asdict", "_replace", "_fields", "_name_", "_exit"),
    *("_run_exitfuncs", "_current_exceptions"),
)
ENCODERS = "opentelemetry.exporter.otlp.proto.common"


# Of what, where it comes from, and the names that are used of it.
MADE: list[tuple[str, Callable[[], Any], str]] = [
    ("a sampler", lambda: DEFAULT_ON, "_root"),
    *(
        ("a span", lambda: TracerProvider().get_tracer("x").start_span("y"), name)
        for name in ("_limits", "_attributes", "_events", "_status")
    ),
    *(
        ("an exporter of metrics", OTLPMetricExporter, name)
        for name in ("_preferred_temporality", "_preferred_aggregation")
    ),
    *(
        ("an exporter over gRPC", lambda: OverGrpc(insecure=True), name)
        for name in (
            *("_client", "_headers", "_timeout", "_channel"),
            *("_initialize_channel_and_stub", "_translate_data"),
        )
    ),
    ("an exporter over HTTP", OverHttp, "_client"),
    *(
        ("the client of an exporter over HTTP", lambda: OverHttp()._client, name)
        for name in ("_submit", "_compress", "_timeout")
    ),
    (
        "a processor of log records",
        lambda: _sdk.BatchLogRecordProcessor(InMemoryLogRecordExporter()),
        "_batch_processor",
    ),
    ("a client of Prefect's", lambda: PrefectClient("http://127.0.0.1:1/api"), "_client"),
    ("a context of Prefect's", TagsContext, "_token"),
]
SAID: list[tuple[str, str]] = [
    ("prefect._internal.control_listener", "def get_intent("),
    ("prefect._internal.engine", "def resolve_custom_task_run_name("),
    ("prefect.utilities.engine", "def emit_task_run_state_change_event("),
    ("prefect.deployments.flow_runs", "flow_run.labels.get(LABELS_TRACEPARENT_KEY)"),
    ("prefect.client.orchestration", '"/task_runs/"'),
    ("prefect.task_worker", "def handle_sigterm("),
    *((engine, _prefect.OWN_FLOW_RUN) for engine in sorted(_prefect.ENGINES)),
]


@pytest.mark.parametrize("name", [*_sdk.NAMES, _sdk.LOG_ENCODER])
def test_a_module_of_the_sdk_has_it(name: str) -> None:
    module, found = _sdk.NAMES.get(name, ENCODERS), None
    with suppress(ImportError, AttributeError):
        if name == _sdk.LOG_ENCODER:
            import_module(f"{module}.{name}")
        found = getattr(import_module(module), name)
    assert found is not None, f"{module} has no {name} any more: see haas_otel/_sdk.py"


@pytest.mark.parametrize(
    ("of", "make", "name"), MADE, ids=[f"{of}: {name}" for of, _, name in MADE]
)
def test_an_object_has_it(of: str, make: Callable[[], Any], name: str) -> None:
    assert hasattr(make(), name), f"{of} has no {name} any more: see haas_otel/_sdk.py, _prefect.py"


@pytest.mark.parametrize(("module", "says"), SAID)
def test_prefect_says_it(module: str, says: str) -> None:
    source = ""
    with suppress(ImportError):
        source = inspect.getsource(import_module(module))
    assert says in source, f"{module} has no {says} any more: see haas_otel/_prefect.py"


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield private names of others: imported, or of objects but one's own."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("haas_otel"):
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in OWN:
            names = [node.attr]
        yield from (name for name in names if re.search(r"\b_[a-z]", name, re.IGNORECASE))


def test_private_names_stand_in_two_modules() -> None:
    left = {
        f"{file.name}: {name}"
        for file in FILES
        if file.name not in ("_sdk.py", "_prefect.py")
        for name in private_names(ast.parse(file.read_text()))
    }
    assert {
        each for each in left if each.rpartition(" ")[2].rpartition(".")[2] not in PYTHONS
    } == set()


def test_there_is_a_test_for_each() -> None:
    """But for a mark of our own, and what only an SDK before 1.45 has."""
    asked = {*_sdk.NAMES, *(name for _, _, name in MADE), *(said for _, said in SAID)}
    left = {
        name
        for module in (_sdk, _prefect)
        for each in private_names(ast.parse(inspect.getsource(module)))
        if not {name := each.rpartition(".")[2], f"def {name}("} & asked
    }
    assert left == {"_haas_otel", "_export", "std_to_otel"}
