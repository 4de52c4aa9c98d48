"""More than one machine: work is shared, and a machine that dies takes only its own runs along.

The services are those of ``deployments/compose/compose.yaml``, started as processes (machines.py).
The tests look at one story: two workers; one dies with its runs; another takes its place; then
mixed runs, in ``make chaos`` 40, while the dead machine's runs are found out. Removals queue
cleanups of their own, which count.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import pytest

from tests.chaos import CHAOS
from tests.e2e.delivery import SCOPE
from tests.e2e.machines import Machines, require_servers
from tests.fake_tmdb import Catalogue, FakeTmdb
from tests.receiver import Receiver
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun

    from tests.received import ReceivedSpan

AT_ONCE = 2 if CHAOS else 1  # runs of a worker
REMOVED, ENCODED, CLEANED, ADDED = (6, 6, 5, 14) if CHAOS else (2, 1, 1, 2)
RUNS = 3 + 2 * REMOVED + ENCODED + CLEANED + ADDED
FILMS = 8
SILENCE = "60" if CHAOS else "40"  # seconds; the heartbeat is 30
LOST = "its last sign of life was"
HELD_UP = 60.0  # seconds that TMDb takes to answer, until the machine has died
OFF = {f"HAAS_{name}_SCHEDULE": "off" for name in ("SCAN", "CLEANUP", "REFRESH", "RECONCILE")}


@dataclass
class Story:
    """What was started and what came of it."""

    machines: Machines
    receiver: Receiver
    tmdb: FakeTmdb
    lost: set[UUID] = field(default_factory=set)
    spared: set[UUID] = field(default_factory=set)
    mixed: dict[UUID, str] = field(default_factory=dict)
    deployments: dict[str, UUID] = field(default_factory=dict)

    def start(self, name: str, **parameters: Any) -> UUID:
        api = self.machines.api
        if name not in self.deployments:
            self.deployments[name] = api.client.read_deployment_by_name(name).id
        return api.run(self.deployments[name], parameters=parameters)

    def all_runs(self) -> list[FlowRun]:
        return self.machines.api.client.read_flow_runs(limit=200)

    def started_tasks(self) -> list[TaskRun]:
        found = self.machines.api.client.read_task_runs(limit=200)
        return [each for each in found if each.start_time is not None]

    def spans(self) -> list[ReceivedSpan]:
        return [span for span in self.receiver.spans if span.scope_name == SCOPE]

    def in_hand(self) -> dict[str, set[UUID]]:
        """Return the runs whose task has started and not ended, by worker."""
        under_way = {task.flow_run_id for task in self.started_tasks() if task.end_time is None}
        found: dict[str, set[UUID]] = {"worker-one": set(), "worker-two": set()}
        for run in self.all_runs():
            if run.id in under_way:
                found[worker_of(run)].add(run.id)
        return found


def worker_of(run: FlowRun) -> str:
    return str(run.labels.get("prefect.worker.name"))


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    require_servers()
    # Not below pytest's own folder, where PostgreSQL's user may not look when we are root.
    folder = Path(tempfile.mkdtemp(prefix="haas-machines-"))
    folder.chmod(0o755)
    with Receiver().start("grpc") as receiver, FakeTmdb(Catalogue(200, people=60)) as tmdb:
        machines = Machines(
            folder,
            _libraries(folder / "libraries"),
            variables={
                **OFF,
                **{name: value for name, value in receiver.environment.items() if "OTLP" in name},
                "HAAS_RUNS_AT_ONCE": str(AT_ONCE),
                "HAAS_TMDB_TOKEN": "any",
                "HAAS_TMDB_URL": tmdb.url,
                "HAAS_TMDB_REQUESTS_PER_SECOND": "50",
                "HAAS_OTEL_SILENCE_SECONDS": SILENCE,
            },
        )
        told = Story(machines, receiver, tmdb)
        try:
            machines.start()
            _lose_a_machine(told)
            _do_mixed_work(told)
            _settle(told)
            yield told
        finally:
            machines.stop()
            if not os.environ.get("HAAS_KEEP"):
                shutil.rmtree(folder, ignore_errors=True)


def _libraries(folder: Path) -> Path:
    for number in range(1, FILMS + 1):
        film = folder / "films" / f"Film number {number} {{tmdb-{number}}}"
        film.mkdir(parents=True)
        (film / "film.mkv").write_bytes(b"no film, but a file to look at")
    (folder / "shows").mkdir()
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    picture = "testsrc2=s=160x120:r=25:d=2"
    clip = folder / "films" / "Clip (2001).mkv"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, clip], check=True)
    return folder


def _lose_a_machine(story: Story) -> None:
    for name in ("one", "two"):
        story.machines.start_worker(name)
    story.tmdb.latency = HELD_UP
    runs = {
        story.start("add-to-library/on-demand", kind="movie", tmdb_id=50 + n)
        for n in range(2 * AT_ONCE)
    }

    def both_are_at_work() -> dict[str, set[UUID]] | None:
        found = story.in_hand()
        return found if all(len(each) == AT_ONCE for each in found.values()) else None

    lost = wait_until(both_are_at_work, interval=0.5, what="runs on each worker")
    story.machines.kill_machine("one")
    story.lost = lost["worker-one"]
    story.spared = runs - story.lost
    story.tmdb.latency = 0.0
    for run in story.spared:  # which ask again, and leave their places to others
        story.machines.api.wait_for_end(run)


def _do_mixed_work(story: Story) -> None:
    story.machines.start_worker("three")
    # The titles that are removed later have to be there first.
    scan = story.start("metadata-scan/hourly")
    story.mixed[scan] = "metadata-scan/hourly"
    assert story.machines.api.wait_for_end(scan).state_name == "Completed"
    clip = story.machines.libraries / "films" / "Clip (2001).mkv"
    plan: list[tuple[str, dict[str, Any]]] = [
        ("metadata-scan/hourly", {}),
        ("metadata-refresh/weekly", {}),
        *(
            ("remove-from-library/on-demand", {"kind": "movie", "tmdb_id": n + 1})
            for n in range(REMOVED)
        ),
        *(
            ("encoding/on-demand", {"source": str(clip), "output": f"{clip.parent}/out-{n}.mp4"})
            for n in range(ENCODED)
        ),
        *(("person-cleanup/nightly", {}) for _ in range(CLEANED)),
        *(
            ("add-to-library/on-demand", {"kind": "movie", "tmdb_id": 101 + n})
            for n in range(ADDED)
        ),
    ]
    for name, parameters in plan:
        story.mixed[story.start(name, **parameters)] = name


def _settle(story: Story) -> None:
    def all_ended() -> bool:
        going_on = [run for run in story.all_runs() if not run.state or not run.state.is_final()]
        return {run.id for run in going_on} == story.lost

    wait_until(all_ended, timeout=600, interval=3, what="every run to end but the lost ones")
    cleanup = story.deployments["person-cleanup/nightly"]
    for run in story.all_runs():
        if run.deployment_id == cleanup and run.id not in story.mixed:
            story.mixed[run.id] = "queued by a removal"
    settle = story.start("reconcile-spans/hourly")
    assert story.machines.api.wait_for_end(settle).state_name == "Completed"
    # The last records of task runs come from a stream of events.
    wait_until(
        lambda: len(story.started_tasks()) == len(story.spans()),
        what=f"as many task runs as spans: {len(story.started_tasks())}, {len(story.spans())}",
    )


def test_mixed_runs_are_all_done(story: Story) -> None:
    found = {run.id: run for run in story.all_runs()}
    assert len(story.mixed) == RUNS
    undone = {
        f"{story.mixed[run]} {run}": found[run].state
        for run in story.mixed
        if found[run].state_name != "Completed"
    }
    assert undone == {}


def test_the_work_is_shared(story: Story) -> None:
    share = {worker_of(run) for run in story.all_runs() if run.id in story.mixed}
    assert share == {"worker-two", "worker-three"}


def test_every_started_task_run_has_one_span(story: Story) -> None:
    told = Counter(span.attributes["task.id"] for span in story.spans())
    assert told == Counter(str(task.id) for task in story.started_tasks())
    assert len(told) >= RUNS + len(story.lost)


def test_spans_say_what_came_of_the_runs(story: Story) -> None:
    status = {span.attributes["prefect.flow_run.id"]: span for span in story.spans()}
    for run in story.all_runs():
        if str(run.id) in status:
            right = "Failed" if run.id in story.lost else "Completed"
            assert status[str(run.id)].attributes["task.status"] == right, run.name


def test_a_machine_that_dies_costs_its_own_runs_only(story: Story) -> None:
    states = {run.id: run for run in story.all_runs()}
    assert len(story.lost) == len(story.spared) == AT_ONCE
    assert {states[run].state_name for run in story.lost} == {"Crashed"}
    assert {worker_of(states[run]) for run in story.lost} == {"worker-one"}
    # The reconciler's own runs come and go: one may begin at any time after a run that crashed.
    others = {run: states[run].state_name for run in story.spared | set(story.mixed)}
    assert set(others.values()) == {"Completed"}, others


def test_spans_of_the_lost_runs_tell_of_the_crash(story: Story) -> None:
    lost = {str(run) for run in story.lost}
    mine = [s for s in story.spans() if s.attributes["prefect.flow_run.id"] in lost]
    assert len(mine) == AT_ONCE
    assert {s.attributes["exception.type"] for s in mine} == {"prefect.exceptions.CrashedRun"}
    assert all(LOST in s.status_description for s in mine)


def test_what_was_done_is_in_the_one_catalog(story: Story) -> None:
    found = {n for (n,) in story.machines.catalog_sql("SELECT tmdb_id FROM movies")}
    names = Counter(story.mixed.values())
    added = {101 + n for n in range(names["add-to-library/on-demand"])}
    removed = {n + 1 for n in range(names["remove-from-library/on-demand"])}
    assert added <= found
    assert not removed & found
    outputs = list((story.machines.libraries / "films").glob("out-*.mp4"))
    assert len(outputs) == names["encoding/on-demand"]


def test_the_server_reached_its_databases_where_they_were(story: Story) -> None:
    for name in ("server", "background"):
        assert "Connect call failed" not in story.machines.log(name)
