"""The reconciler's flow: what it does with what `reconcile` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from haas_otel.hooks import haas_otel_on_begun
from tests.test_docs import flows as deployed_flows
from tests.waits import wait_until
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


LOSES_POWER = """
import os, signal
from prefect.runtime import flow_run
from flows import reconcile_spans

def dies(*_):
    print(flow_run.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

reconcile_spans._look = dies
reconcile_spans.reconcile_spans_flow()
"""


def test_a_run_that_lost_power_is_settled_by_whoever_comes_next(flows: Flows) -> None:
    """Not only after the silence of a machine that is gone: its deployment takes no other run."""
    where: dict[str, Any] = {"env": flows.environment, "cwd": flows.telemetry.parent}
    told = warm().run("-c", LOSES_POWER, **where).stdout
    run = UUID(told.strip().splitlines()[-1])
    assert flows.server.flow_run(run).state_name == "Running"

    def is_settled() -> bool:
        warm().run("-c", "import haas_otel; haas_otel.reconcile()", **where)
        return flows.server.flow_run(run).state_name == "Crashed"

    wait_until(is_settled, interval=1, what=f"the end of {run}")


def test_the_runs_of_all_deployments_leave_a_record() -> None:
    hooks = {name: flow.on_running_hooks for name, flow in deployed_flows().items()}
    assert [name for name, each in hooks.items() if haas_otel_on_begun not in each] == []
