"""The public face as a type checker sees it: calls take and give what the functions do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, PrefectFutureList

from haas_otel import flow, materialize, task

if TYPE_CHECKING:
    from prefect.client.schemas.objects import TaskRun
    from prefect.tasks import Task


@task
def plain(number: int) -> str:
    return str(number)


@task(name="With options", retries=2, task_type="Own")
async def with_options(number: int) -> str:
    return str(number)


@plain.on_cancellation
def on_cancellation(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None: ...


@plain.on_failure
def on_failure(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None: ...


@materialize("file:///forecast.csv", retries=2, task_type="Forecast")
def forecast(number: int) -> str:
    return str(number)


@flow
def plain_flow(number: int) -> str:
    assert_type(plain(number), str)
    assert_type(plain(number, return_state=True), State[str])
    assert_type(plain.submit(number), PrefectFuture[str])
    assert_type(plain.map([number]), PrefectFutureList[str])
    assert_type(forecast(number), str)
    return plain.with_options(name="Else")(number)


@flow(name="with options", on_failure=[])
async def flow_with_options(number: int) -> str:
    return assert_type(await with_options(number), str)


async def run() -> None:
    assert_type(plain_flow(1), str)
    assert_type(plain_flow(1, return_state=True), State[str])
    assert_type(plain_flow.with_options(name="else")(1), str)
    assert_type(await flow_with_options(1), str)
    task(retrys=2)  # type: ignore[call-overload]
    flow(retrys=2)  # type: ignore[call-overload]
    plain("1")  # type: ignore[call-overload]
    plain_flow("1")  # type: ignore[call-overload]
    flow.from_source(source="elsewhere", entrypoint="theirs.py:top")
