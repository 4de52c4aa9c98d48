"""Waits and runs that never began, as metrics that agree with what Prefect's API says."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.schemas.objects import StateType

from tests.e2e.conftest import POOL
from tests.e2e.delivery import PROJECT, collecting
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from tests.e2e.api import Api
    from tests.e2e.delivery import Collector
    from tests.e2e.prefect_processes import PrefectProcesses

TAG = "counted"
RECONCILE = f"""
from datetime import timedelta
from haas_otel import reconcile
from haas_otel.delivery import deliver_pending
reconcile(tags=["{TAG}"])
deliver_pending(timedelta(seconds=30))
"""


def points(collector: Collector, name: str) -> list[tuple[dict[str, str], Any]]:
    return [
        ({each.key: each.value.string_value for each in point.attributes}, point)
        for resource in collector.receiver.metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


def test_waits_and_what_never_began_agree_with_prefect(
    api: Api, prefect: PrefectProcesses, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with collecting(tmp_path_factory.mktemp("waiting")) as collector:

        def deploy(flow: str, pool: str = POOL, **limit: Any) -> UUID:
            name = f"counted-{pool}"
            id_ = api.deploy(PROJECT, f"endings.py:{flow}", pool, name, [TAG])
            if limit:
                api.client.request("PATCH", f"/deployments/{id_}", json=limit)
            return id_

        def start(deployment: UUID, **parameters: Any) -> UUID:
            return api.run(deployment, parameters=parameters, environment=collector.environment)

        def ended(run: UUID) -> FlowRun:
            return api.wait_for_end(run)

        queue, only = deploy("retried", concurrency_limit=1), {"collision_strategy": "CANCEL_NEW"}
        single = deploy("obeyed", concurrency_limit=1, concurrency_options=only)
        holder = start(single)
        collector.pid_when_running(api, holder)
        begun = [start(queue), start(queue), start(deploy("returned_after_a_retry")), holder]
        api.make_pool("nobody-counts")
        pending = [start(deploy("returned", pool="nobody-counts")) for _ in range(2)]
        number = deploy("takes_a_number")
        never = [start(single), start(number, number="x"), start(number, nobody="knows"), *pending]
        for run in pending:
            api.cancel(run)
        for run in never:
            ended(run)
        api.cancel(holder)
        for run in begun:
            ended(run)
            collector.wait_for_spans(run, 2 if run == begun[2] else 1)

        assert_waits(api, collector, begun)

        environment = prefect.environment | collector.environment
        marked = lambda run: "haas_otel.never_began" in api.flow_run(run).labels  # noqa: E731
        # What its own process sees end is counted by that, if a busy server answers it in time; the
        # others are by the reconciler.
        counted_or_gone = lambda: marked(never[1]) or api.process(never[1]) is None  # noqa: E731
        wait_until(counted_or_gone, what="refused parameters to be counted")
        assert not any(map(marked, (never[0], *pending)))

        for _ in range(2):
            done = warm().run("-c", RECONCILE, env=environment, cwd=collector.folder)
            assert done.returncode == 0, done.stderr
        assert all(map(marked, never))

        def counted() -> Counter[tuple[str, str]]:
            found: Counter[tuple[str, str]] = Counter()
            for by, point in points(collector, "background_task.not_started"):
                key = (by["prefect.flow.name"], by["background_task.not_started.reason"])
                found[key] += point.as_int
            return found

        expected = {
            ("obeyed", "limit_reached"): 1,
            ("takes-a-number", "refused_parameters"): 1,
            ("takes-a-number", "crashed"): 1,
            ("returned", "cancelled"): 2,
        }
        assert_arrives(collector, counted, expected)


def assert_arrives(collector: Collector, told: Callable[[], Any], expected: Any) -> None:
    """Compare what arrives, with the help of one more process if need be; see `Collector`."""

    def is_there() -> bool:
        if told() != expected:
            collector.deliver()
        return bool(told() == expected)

    with suppress(AssertionError):
        wait_until(is_there, interval=5)
    assert told() == expected


def assert_waits(api: Api, collector: Collector, runs: list[UUID]) -> None:
    def told() -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for by, point in points(collector, "background_task.wait.duration"):
            found[by["background_task.wait.reason"]] += point.sum
        return found

    history: dict[str, float] = defaultdict(float)
    for run in runs:
        states = sorted(api.client.read_flow_run_states(run), key=lambda state: state.timestamp)
        due = states[0].state_details.scheduled_time
        assert due is not None
        for before, after in pairwise(states):
            since = max(due, before.timestamp) if before is not states[0] else due
            named = {"AwaitingConcurrencySlot": "concurrency_slot", "AwaitingRetry": "retry"}
            typed = {StateType.SCHEDULED: "schedule", StateType.PENDING: "worker"}
            if reason := named.get(str(before.name)) or typed.get(before.type):
                history[reason] += max(0.0, (after.timestamp - since).total_seconds())
    assert set(history) == {"schedule", "worker", "concurrency_slot", "retry"}
    assert_arrives(collector, told, pytest.approx(history, abs=0.005))
