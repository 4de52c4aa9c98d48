"""`haas why` of runs that are prepared on a real server and worker."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from tests.e2e.conftest import POOL, ROOT
from tests.e2e.delivery import PROJECT
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from tests.e2e.api import Api
    from tests.e2e.prefect_processes import PrefectProcesses

TAG = "haas-media"
RECONCILE = """
from types import SimpleNamespace
import haas_otel
from flows import reconcile_spans
haas_otel.reconcile = lambda **_: SimpleNamespace(flow_runs=(), task_runs=(), look_again=0.0)
reconcile_spans.reconcile_spans_flow()
"""


@dataclass
class Prepared:
    """Runs by what was prepared, and what is asked about them."""

    api: Api
    environment: dict[str, str]
    folder: Path
    runs: dict[str, UUID] = field(default_factory=dict)

    def deploy(self, flow: str, pool: str = POOL, **limit: Any) -> UUID:
        name = f"why{limit.get('concurrency_limit', '')}-{pool}"
        id_ = self.api.deploy(PROJECT, f"endings.py:{flow}", pool, name, [TAG])
        if limit:
            self.api.client.request("PATCH", f"/deployments/{id_}", json=limit)
        return id_

    def start(self, name: str, deployment: UUID, **parameters: Any) -> UUID:
        run = self.api.run(deployment, parameters=parameters, environment=self.environment)
        self.runs[name] = run
        return run

    def in_task(self, run: UUID) -> int:
        """Wait until a run is in its task; return its process."""
        mark = self.folder / f"{run}.running"
        wait_until(mark.exists, what=f"{run} to be in its task")
        return int(mark.read_text())

    def why(self, name: str, run: str = "{}") -> str:
        haas = ("-m", "deployments.cli", "why", run.format(self.runs[name]))
        done = warm().run(*haas, env=self.environment, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def prepared(
    prefect: PrefectProcesses, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    folder = tmp_path_factory.mktemp("why")
    variables = {
        "HAAS_OTEL_DIR": str(folder / "otel"),
        "MARKS": str(folder),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    made = Prepared(api, {**prefect.environment, **variables}, folder)
    one = made.deploy("obeyed", concurrency_limit=1)
    first = made.start("cancelled", one)
    made.in_task(first)
    late = made.start("late", one)
    api.make_pool("nobody")
    made.start("without a worker", made.deploy("returned", pool="nobody"))
    only = {"collision_strategy": "CANCEL_NEW"}
    single = made.deploy("ignored", concurrency_limit=1, concurrency_options=only)
    process = made.in_task(made.start("killed", single))
    for name, flow in {
        "completed": "returned",
        "failed": "raised",
        "timed out": "timed_out",
    }.items():
        made.start(name, made.deploy(flow))
    made.start("refused", made.deploy("takes_a_number"), number="many")
    made.start("one too many", single)
    api.wait_for_end(made.runs["one too many"])
    waits = lambda: api.flow_run(late).state_name == "AwaitingConcurrencySlot"  # noqa: E731
    wait_until(waits, what="the second run to wait for its turn")
    api.cancel(first)
    os.kill(process, signal.SIGKILL)
    made.in_task(late)
    api.cancel(late)
    for name, run in made.runs.items():
        if name != "without a worker":
            api.wait_for_end(run)
    return made


def test_the_story_says_what_was_prepared(prepared: Prepared) -> None:
    names = {name: prepared.api.flow_run(run).name for name, run in prepared.runs.items()}
    told = {name: prepared.why(name) for name in names}
    for name, story in told.items():
        assert story.startswith(f'The run "{names[name]}" (')
        assert "asked for it by hand or by a program: it was due on 20" in story
    assert ": completed" in told["completed"]
    assert 'Its task "Return a number" completed after' in told["completed"]
    assert "BackgroundTask.ReturnsTask" in told["completed"]  # the waterfall
    assert "It failed at" in told["failed"]
    assert "by an error of its own: LookupError: no such film: 8." in told["failed"]
    assert "one of its tasks took longer than allowed (at most 1 s)" in told["timed out"]
    assert "A person, or a program in somebody's name, cancelled it at" in told["cancelled"]
    turn = f'for its turn: at most 1 run of obeyed/why1-{POOL} may go on at a time, and "'
    assert f"{turn}{names['cancelled']}" in told["late"]
    nobody = 'because no worker was there for the work pool "nobody", in which it runs.'
    assert nobody in told["without a worker"]
    assert "It has been waiting for" in told["without a worker"]
    assert "Its process was killed by force at" in told["killed"]
    assert 'Its task "Ignore a termination" was cut off after' in told["killed"]
    assert "what it was given was refused at" in told["refused"]
    assert "number: Input should be a valid integer" in told["refused"]
    assert f'and "{names["killed"]}" (from ' in told["one too many"]
    assert "Its deployment is set to cancel a second run" in told["one too many"]
    never = {name for name, story in told.items() if ": never began" in story}
    assert never == {"refused", "one too many"}


def test_a_run_that_did_not_complete_keeps_its_story(prepared: Prepared) -> None:
    def kept() -> dict[str, list[str]]:
        ids = ArtifactFilterFlowRunId(any_=[*prepared.runs.values()])
        found = prepared.api.client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ids))
        return {
            name: [str(each.data) for each in found if (each.flow_run_id, each.key) == (run, "why")]
            for name, run in prepared.runs.items()
        }

    for _ in range(2):  # once each, however often it is looked at
        done = warm().run("-c", RECONCILE, env=prepared.environment, cwd=prepared.folder)
        assert done.returncode == 0, done.stderr
    stories = kept()
    none = {name for name, texts in stories.items() if not texts}
    assert none - {"late"} <= {"completed", "without a worker"}
    for name, [text] in ((name, texts) for name, texts in stories.items() if texts):
        shown = re.sub(r"\\([^\w\s])", r"\1", text.removeprefix("# "))  # as Markdown is shown
        said = [line.strip() for line in shown.split("\n\n")]
        assert " ".join(said) in prepared.why(name)


def test_the_address_of_a_runs_page(prepared: Prepared) -> None:
    page = "http://127.0.0.1:4200/v2/runs/flow-run/{}"
    for address in (page, f"{page}?tab=Logs", f"{page}/#top"):
        assert prepared.why("completed", address) == prepared.why("completed")


def test_a_run_that_is_not_there(prepared: Prepared) -> None:
    haas = ("-m", "deployments.cli", "why", "nothing so named")
    done = warm().run(*haas, env=prepared.environment, cwd=prepared.folder)
    assert done.returncode == 1
    assert "Prefect knows no run 'nothing so named': give its id or its name." in done.stderr
