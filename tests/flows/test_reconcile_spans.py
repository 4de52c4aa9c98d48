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
haas_otel.reconcile = lambda **given: print("LOOKED", given["tags"]) or passes.pop(0)
reconcile_spans.sleep = lambda seconds: print("WAITED", seconds)
for passes[:] in (
    [Passed(flow_runs=("a",), task_runs=("b", "c"), look_again=60.0),
     Passed(flow_runs=("x",), task_runs=("z",), look_again=0.0)],
    [Passed(flow_runs=(), task_runs=(), look_again=0.0)],
    [Passed(flow_runs=(), task_runs=(), look_again=9.0)] * 3,
):
    print("RESULT", reconcile_spans.reconcile_spans_flow())
"""


def test_what_cannot_be_said_yet_is_looked_at_again_in_the_same_run(flows: Flows) -> None:
    environment = flows.environment
    done = warm().run("-c", SCRIPT, env=environment, cwd=flows.telemetry.parent)
    told = [line for line in done.stdout.splitlines() if line.startswith(("LOO", "WAI", "RES"))]
    looked, none = "LOOKED ('haas-media',)", "RESULT {'flow_runs': 0, 'spans': 0, 'delivered': 0}"
    assert told == [
        *(looked, "WAITED 60.0", looked, "RESULT {'flow_runs': 2, 'spans': 3, 'delivered': 0}"),
        *(looked, none),
        *(looked, "WAITED 9.0", looked, "WAITED 9.0", looked, none),
    ], done.stderr
    assert "Looking again in 60 s" in done.stdout + done.stderr
