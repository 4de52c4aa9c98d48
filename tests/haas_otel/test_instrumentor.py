"""Prefect's own decorators, instrumented: their endings are in tests/e2e/test_elsewhere."""

from __future__ import annotations

import logging
from importlib.metadata import requires
from typing import TYPE_CHECKING, Any

import prefect
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from packaging.requirements import Requirement
from prefect.assets import materialize
from prefect.flows import Flow
from prefect.tasks import Task

import haas_otel
from haas_otel import BackgroundTask, span
from haas_otel import task as ours
from haas_otel.decorators import BackgroundFlow
from haas_otel.instrumentor import PrefectTaskInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.haas_otel.conftest import Told


@pytest.fixture
def instrumentor(told: Told) -> Iterator[PrefectTaskInstrumentor]:
    made = PrefectTaskInstrumentor()
    made.instrument()
    yield made
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


def test_it_takes_what_its_distribution_takes() -> None:
    (taken,) = PrefectTaskInstrumentor().instrumentation_dependencies()
    assert Requirement(taken) in map(Requirement, requires("haas-otel") or ())


def test_every_kind_of_task_is_told_once_and_works_as_before(
    told: Told, instrumentor: PrefectTaskInstrumentor
) -> None:
    class Derived(Task[..., Any]): ...

    class DerivedFlow(Flow[..., Any]): ...

    @prefect.task(task_run_name="add {number}")
    def add(number: int) -> int:
        return number + 1

    @materialize("file:///sums.csv")
    def write(number: int) -> int:
        return number

    derived = Derived(lambda: 7, name="derived")

    @prefect.flow
    def sums() -> list[int]:
        return [add(1), add.with_options(name="again")(2), write(3), derived()]

    assert sums() == [2, 3, 3, 7]
    assert [each.attributes["task.name"] for each in told.spans] == [
        "add",
        "again",
        "write",
        "derived",
    ]
    assert {each.attributes["task.status"] for each in told.spans} == {"Completed"}
    assert isinstance(derived, Derived)
    for made in (derived, DerivedFlow(lambda: 7, name="derived")):
        copied = made.with_options(name="else")  # Prefect's is of its own class
        assert not isinstance(copied, (Derived, DerivedFlow))
        assert isinstance(copied, (BackgroundTask, BackgroundFlow))
    assert [asset.key for asset in write.with_options(name="else").assets] == ["file:///sums.csv"]


def test_taken_back_it_is_as_prefect_made_it(
    told: Told, instrumentor: PrefectTaskInstrumentor
) -> None:
    def body() -> int:
        return 7

    made = prefect.task(body)
    assert prefect.flow(made)() == 7
    assert len(told.spans) == 1
    instrumentor.uninstrument()
    made_later = prefect.task(body)
    for task in (made, made_later):
        assert type(task) is Task
        assert (task.fn, task.on_running_hooks) == (body, [])

        @prefect.flow
        def calls(task: Task[..., int] = task) -> int:
            return task()

        assert type(calls) is Flow
        assert calls() == 7
    assert len(told.spans) == 1
    assert ours(body)() == 7  # what asks for a span by itself has one
    assert len(told.spans) == 2


def test_what_goes_on_when_it_is_taken_back_is_told(
    told: Told, instrumentor: PrefectTaskInstrumentor
) -> None:
    @prefect.task
    def takes_back() -> None:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()

    takes_back()
    takes_back()
    assert told.one.attributes["task.status"] == "Completed"


def give_to_the_instrumentor(provider: TracerProvider) -> None:
    instrumentor = PrefectTaskInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    instrumentor.uninstrument()


@pytest.mark.parametrize("give", [give_to_the_instrumentor, haas_otel.configure])
def test_a_provider_given_after_the_first_task_is_taken_with_a_warning(
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    give: Callable[[TracerProvider], None],
) -> None:
    monkeypatch.setattr(span, "_provider", None)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @ours
    def count(number: int) -> int:
        return number

    count(1)
    with caplog.at_level(logging.WARNING, "haas_otel"):
        give(provider)
    assert ["after the first task" in each for each in caplog.messages].count(True) == 1
    count(2)
    assert [each.attributes["task.status"] for each in told.spans] == ["Completed"]
    (span_there,) = exporter.get_finished_spans()
    assert span_there.context.span_id not in {each.context.span_id for each in told.spans}
    assert span_there.attributes["task.status"] == "Completed"
