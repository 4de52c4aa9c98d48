"""The other observability stacks: in place of Jaeger in the page's first line."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.containers.conftest import Containers

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def without_jaeger(stack: Containers) -> Iterator[Containers]:
    """On the network that they share there is one collector at a time."""
    stack.down("observability/jaeger")
    yield stack
    for name in ("observability/zipkin", "observability/grafana"):
        stack.down(name)


def test_runs_arrive_in_whatever_is_beside_them(without_jaeger: Containers) -> None:
    stack = without_jaeger
    stack.compose("up", "-d", stack="observability/zipkin")
    scan = stack.start("metadata-scan/hourly")
    stack.wait_for(scan, "Completed")
    url = f"http://127.0.0.1:{stack.zipkin}/api/v2/trace/{scan.hex}"

    def in_zipkin() -> bool:
        with suppress(httpx.HTTPError):  # it starts for some seconds
            found = httpx.get(url)
            names = {span.get("name") for span in found.json()} if found.is_success else set()
            return "backgroundtask.metadatascantask" in names
        return False

    wait_until(in_zipkin, timeout=90, interval=1, what="the trace in Zipkin")
    stack.down("observability/zipkin")
    # Tempo, Loki and Grafana are only started where images come from a registry.
    grafana = "observability/grafana"
    stack.compose("up", "-d", "--no-deps", "collector", "prometheus", stack=grafana)
    stack.wait_for(stack.start("metadata-scan/hourly"), "Completed")
    query = 'background_task_duration_seconds_count{task_type="MetadataScanTask"}'
    ask = ("exec", "-T", "prometheus", "promtool", "query", "instant", "http://localhost:9090")

    def in_prometheus() -> bool:
        return "MetadataScanTask" in stack.compose(*ask, query, stack=grafana)

    wait_until(in_prometheus, timeout=90, interval=2, what="the duration in Prometheus")
