"""The reconciler's flow: what it does with what `reconcile` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.warm import warm

if TYPE_CHECKING:
    from tests.flows.conftest import Flows

SCRIPT = """
from types import SimpleNamespace as Passed
import haas_otel
from flows import reconcile_spans

passes = []
haas_otel.reconcile = lambda **given: print("LOOKED", given["quiet"]) or passes.pop(0)
reconcile_spans.sleep = lambda seconds: print("WAITED", seconds)
for passes[:] in (
    [Passed(flow_runs=("a",), task_runs=("b", "c"), suspected=("x", "y")),
     Passed(flow_runs=("x",), task_runs=("z",), suspected=())],
    [Passed(flow_runs=(), task_runs=(), suspected=())],
):
    print("RESULT", reconcile_spans.reconcile_spans_flow(quiet_seconds=5))
"""


def test_suspected_runs_are_looked_at_again_after_two_heartbeats(flows: Flows) -> None:
    environment = flows.environment | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    done = warm().run("-c", SCRIPT, env=environment, cwd=flows.telemetry.parent, timeout=240)
    told = [line for line in done.stdout.splitlines() if line.startswith(("LOO", "WAI", "RES"))]
    assert told == [
        "LOOKED 0:00:05",
        "WAITED 60",
        "LOOKED 0:00:05",
        "RESULT {'flow_runs': 2, 'spans': 3, 'delivered': 0}",
        "LOOKED 0:00:05",
        "RESULT {'flow_runs': 0, 'spans': 0, 'delivered': 0}",
    ], done.stderr
    assert "2 runs without a sign of life: looking again in 60 s" in done.stdout + done.stderr
