"""What `prefect deploy --all` leaves on a real server."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Cancelled, Cancelling, Crashed, Failed

from deployments import check_mistakes as mistakes
from deployments.check_deployments import RECONCILER
from deployments.prefect_plugin import EARLIER_AUTOMATION, EARLIER_RECONCILER, is_deploying
from deployments.server import KEPT_LEASES
from deployments.work_pool import deployments_of
from tests.deployments.conftest import ROOT, Command, clean_environment, line_of
from tests.faulty_port import FaultyPort
from tests.http_server import HttpServer, Reply
from tests.waits import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events import Automation

    from deployments.stack import Stack

pytestmark = pytest.mark.e2e

PARAMETERS = {
    "metadata-scan/hourly": ["library", "refresh_existing", "paths"],
    "metadata-scan/on-event": ["library", "refresh_existing", "paths"],
    "add-to-library/on-demand": ["kind", "tmdb_id"],
    "remove-from-library/on-demand": ["kind", "tmdb_id"],
    "metadata-refresh/weekly": ["movies", "tv_shows", "people", "changed_only"],
    "person-cleanup/nightly": ["person_ids"],
    "encoding/on-demand": [
        "source",
        "streams",
        "output",
        "video_codec",
        "crf",
        "video_bitrate",
        "quality",
        "resolution",
        "hardware_acceleration",
        "device",
        "deinterlace",
        "hdr",
        "allow_loss",
        "refuse_larger",
        "verify",
    ],
    "prune-library/on-demand": ["dry_run", "gone_for_good"],
    "reconcile-spans/hourly": ["lookback_days"],
    "audit-spans/daily": ["backend", "since_days", "repair"],
}
LIMITS = {
    "metadata-scan/hourly": (1, "CANCEL_NEW"),
    "metadata-scan/on-event": (1, "ENQUEUE"),
    "metadata-refresh/weekly": (1, "CANCEL_NEW"),
    "person-cleanup/nightly": (1, "ENQUEUE"),
    "encoding/on-demand": (1, "ENQUEUE"),
    "reconcile-spans/hourly": (1, "ENQUEUE"),
    "audit-spans/daily": (1, "CANCEL_NEW"),
}
SCHEDULES = {
    "metadata-scan/hourly": "0 * * * *",
    "metadata-refresh/weekly": "0 4 * * 1",
    "person-cleanup/nightly": "30 3 * * *",
    "reconcile-spans/hourly": "17 * * * *",
    "audit-spans/daily": "0 5 * * *",
}
ON = {"HAAS_RECONCILE_SCHEDULE": "17 * * * *"}  # though it was off: what is off, stays so
# Seconds after the first of them: bad ends of a minute are taken together, and by then a worker has
# had its time to say how a run died.
LATER = 120

ENV = {
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_PLUGINS_ENABLED": "false",
}


def code_in(directory: str) -> list[dict[str, Any]]:
    return [{"prefect.deployments.steps.set_working_directory": {"directory": directory}}]


def deployed(stack: Stack, pool: str = "haas-media") -> dict[str, DeploymentResponse]:
    with stack.client() as client:
        return deployments_of(client, pool)


def test_forms_describe_each_parameter(stack: Stack) -> None:
    schemas: dict[str, Any] = {
        name: each.parameter_openapi_schema for name, each in deployed(stack).items()
    }
    assert {name: list(each["properties"]) for name, each in schemas.items()} == PARAMETERS
    for schema in schemas.values():
        for parameter, field in schema["properties"].items():
            assert field["title"] != parameter
            assert field["title"][0].isupper()
            assert re.fullmatch(r".{10,}\.", field["description"]), parameter
    assert all(each.enforce_parameter_schema for each in deployed(stack).values())


def test_limits_schedules_and_places(stack: Stack) -> None:
    limits, schedules = {}, {}
    for name, found in deployed(stack).items():
        limit, options = found.global_concurrency_limit, found.concurrency_options
        if limit or options:
            assert limit is not None
            assert options is not None
            limits[name] = (limit.limit, options.collision_strategy.value)
        for each in found.schedules:
            assert each.schedule.timezone == "UTC"
            schedules[name] = getattr(each.schedule, "cron", None)
        assert found.job_variables == {"env": ENV}
        assert found.pull_steps == code_in(str(ROOT))
    assert limits == LIMITS
    assert schedules == SCHEDULES


def prefect_deploy(api_url: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as on a terminal, where Prefect would ask."""
    return subprocess.run(
        [Path(sys.executable).with_name("prefect"), "--prompt", "deploy", "--all"],
        env=clean_environment(home) | {"PREFECT_API_URL": api_url} | variables,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_a_server_that_has_nothing_gets_everything(fresh: Stack, tmp_path: Path) -> None:
    """Its work pool, too, without which Prefect itself would refuse."""
    done = prefect_deploy(fresh.address.api, tmp_path, HAAS_RECONCILE_SCHEDULE="off")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "?" not in done.stdout
    assert fresh.deployments() == sorted(PARAMETERS)
    with fresh.client() as client:
        assert client.read_work_pool("haas-media").type == "process"


def test_after_a_time_away_each_deployment_runs_once(fresh: Stack) -> None:
    """A night without the server would else be made up for run by run."""

    def enough() -> bool:
        with fresh.client() as client:
            return len(client.read_flow_runs()) >= 9

    # Prefect's scheduler stops at an error with SQLAlchemy 2.1.
    wait_until(enough, interval=0.5, what="what the scheduler makes")
    fresh.stop()
    stopped = datetime.now(UTC)
    database_file = fresh.data_dir / "prefect" / "prefect.db"
    with contextlib.closing(sqlite3.connect(database_file)) as database:
        for column in ("expected_start_time", "next_scheduled_start_time"):
            database.execute(f"UPDATE flow_run SET {column} = datetime({column}, '-60 days')")
        database.commit()
    fresh.start_server()
    with fresh.client() as client:
        runs = client.read_flow_runs(limit=200)
        names = {each.id: each.name for each in client.read_deployments()}
    late = [run for run in runs if run.expected_start_time and run.expected_start_time < stopped]
    assert Counter(names[run.deployment_id] for run in late if run.deployment_id) == {
        "hourly": 1,
        "nightly": 1,
        "weekly": 1,
    }


def ended(client: SyncPrefectClient, deployment: UUID, state: State) -> datetime:
    """Start a run that gets no further than to this state; return when it had it."""
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, state, force=True)
    return state.timestamp


def acted(client: SyncPrefectClient, automation: UUID) -> int:
    """Return how many times an automation has acted."""
    which = {
        "event": {"name": ["prefect.automation.action.executed"]},
        "resource": {"id": [f"prefect.automation.{automation}"]},
    }
    found = client.request("POST", "/events/filter", json={"filter": which})
    return int(found.json()["total"])


def started_by_hand(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    """Return the runs of a deployment that are not of its schedule, the last first."""
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    return [run for run in runs if not run.auto_scheduled]


def test_a_burst_of_bad_ends_runs_the_reconciler_once(fresh: Stack, tmp_path: Path) -> None:
    """After the burst. Its own ends run nothing, nor do runs of others."""
    assert prefect_deploy(fresh.address.api, tmp_path, **ON).returncode == 0
    states = (Cancelling, Cancelled, Crashed, Failed, lambda: Failed(name="TimedOut"))
    with fresh.client() as client:
        reconciler = client.read_deployment_by_name(RECONCILER)
        ours = client.read_deployment_by_name("person-cleanup/nightly").id
        theirs = client.create_deployment(client.create_flow_from_name("theirs"), name="it")
        # Acts on every such end at once: what it has acted on, the reconciler's trigger has seen.
        witness = client.create_automation(
            AutomationCore(
                name="witness",
                trigger=EventTrigger(
                    match=ResourceSpecification(
                        {"prefect.state-type": ["CANCELLING", "CANCELLED", "CRASHED", "FAILED"]}
                    ),
                    expect={"prefect.flow-run.*"},
                    posture=Posture.Reactive,
                    threshold=1,
                ),
                actions=[DoNothing()],
            )
        )
        for each in states:
            ended(client, reconciler.id, each())
            ended(client, theirs, each())
        wait_until(lambda: acted(client, witness) == 10, what="the first ends to be seen")
        own = started_by_hand(client, reconciler.id)
        times = [ended(client, ours, each()) for each in states]
        wait_until(lambda: acted(client, witness) == 15, what="the burst to be seen")
        # What the trigger has seen it acts on in a service of its own.
        is_run = lambda: len(started_by_hand(client, reconciler.id)) > len(own)  # noqa: E731
        wait_until(is_run, what="the reconciler's run")
        runs = started_by_hand(client, reconciler.id)
        client.delete_automation(witness)
        client.delete_deployment(theirs)
    assert len(own) == len(states)
    [run] = [run for run in runs if run not in own]
    assert run.state_name == "Scheduled"
    assert run.expected_start_time is not None
    assert run.expected_start_time - min(times) >= timedelta(seconds=LATER)


def triggers_of(stack: Stack) -> list[Automation]:
    with stack.client() as client:
        found = client.read_deployment_by_name(RECONCILER).id
        return client.read_resource_related_automations(f"prefect.deployment.{found}")


def test_deploying_again_leaves_one_trigger_as_it_is(fresh: Stack, tmp_path: Path) -> None:
    """Prefect makes it anew each time: its id is another."""
    [before] = triggers_of(fresh)
    assert prefect_deploy(fresh.address.api, tmp_path).returncode == 0
    [after] = triggers_of(fresh)
    assert after.model_dump(exclude={"id"}) == before.model_dump(exclude={"id"})
    assert after.enabled
    off = {"HAAS_RECONCILE_SCHEDULE": "off"}
    assert prefect_deploy(fresh.address.api, tmp_path, **off).returncode == 0
    assert [each.enabled for each in triggers_of(fresh)] == [False]


def test_deploying_again_keeps_what_a_person_did(fresh: Stack, tmp_path: Path) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    assert prefect_deploy(fresh.address.api, tmp_path, **ON).returncode == 0
    before = deployed(fresh)
    scan, encoding = before["metadata-scan/hourly"], before["encoding/on-demand"]
    refresh = before["metadata-refresh/weekly"]
    with fresh.client() as client:
        client.update_deployment_schedule(scan.id, scan.schedules[0].id, active=False)
        moved = CronSchedule(cron="7 7 * * *", timezone="UTC")
        client.update_deployment_schedule(
            refresh.id, refresh.schedules[0].id, schedule=moved, parameters={"people": False}
        )
        made = CronSchedule(cron="5 5 * * *", timezone="UTC")
        client.create_deployment_schedules(encoding.id, [(made, True)])
        client.pause_deployment(encoding.id)
        client.pause_automation(triggers_of(fresh)[0].id)
    done = prefect_deploy(fresh.address.api, tmp_path)
    assert done.returncode == 0, done.stderr
    after = deployed(fresh)
    assert [each.active for each in after["metadata-scan/hourly"].schedules] == [False]
    [weekly] = after["metadata-refresh/weekly"].schedules
    assert (weekly.schedule, weekly.parameters) == (moved, {"people": False})
    assert [each.schedule for each in after["encoding/on-demand"].schedules] == [made]
    assert after["encoding/on-demand"].paused
    assert [each.enabled for each in triggers_of(fresh)] == [False]
    assert "metadata-scan/hourly: its schedule is paused, and stays so." in done.stderr
    # A variable that is given goes before: that is said.
    done = prefect_deploy(fresh.address.api, tmp_path, HAAS_SCAN_SCHEDULE="1 * * * *", **ON)
    (schedule,) = deployed(fresh)["metadata-scan/hourly"].schedules
    assert (schedule.active, getattr(schedule.schedule, "cron", None)) == (True, "1 * * * *")
    assert "its schedule is paused; HAAS_SCAN_SCHEDULE switches it on." in done.stderr
    assert [each.enabled for each in triggers_of(fresh)] == [True]


@pytest.mark.parametrize(
    ("held", "times", "code"),
    [
        (b"PATCH /api/deployments/", 3, 128 + signal.SIGTERM),  # two are deployed
        (b'{"paused":true', 1, 0),  # all are, and are put back
    ],
    ids=["deploying", "putting back"],
)
def test_deploying_that_is_stopped_keeps_what_a_person_did(
    held: bytes, times: int, code: int, fresh: Stack, tmp_path: Path
) -> None:
    names = "metadata-refresh/weekly", "metadata-scan/hourly"
    with fresh.client() as client:
        for name in names:
            client.pause_deployment(deployed(fresh)[name].id)
    seen: list[bytes] = []
    is_there, goes_on = threading.Event(), threading.Event()

    def hold(sent: bytes) -> None:
        if held in sent:
            seen.append(sent)
            if len(seen) == times:
                is_there.set()
                goes_on.wait(120)

    door = FaultyPort(urlsplit(fresh.address.api).port or 0, 0, hold)
    try:
        stopped = fresh._child(  # as `haas up` deploys
            "prefect deploy",
            ["--no-prompt", "deploy", "--all"],
            clean_environment(tmp_path) | {"PREFECT_API_URL": f"http://127.0.0.1:{door.port}/api"},
            "stopped.log",
            cwd=ROOT,
        )
        assert is_there.wait(120), stopped.tail()
        assert not all(deployed(fresh)[name].paused for name in names)
        stopped.send(signal.SIGTERM)
        if code == 0:
            goes_on.set()
        assert stopped.wait(60) == code
    finally:
        goes_on.set()
        door.stop()
    with fresh.client() as client:
        for name in names:
            assert deployed(fresh)[name].paused
            client.resume_deployment(deployed(fresh)[name].id)


def test_what_earlier_versions_left_is_taken_away(fresh: Stack, tmp_path: Path) -> None:
    with fresh.client() as client:
        flow = client.create_flow_from_name("reconcile-spans")
        client.create_deployment(flow, name="every-5-minutes", work_pool_name="haas-media")
        client.create_automation(
            AutomationCore(
                name=EARLIER_AUTOMATION,
                trigger=EventTrigger(posture=Posture.Proactive, within=timedelta(seconds=90)),
                actions=[DoNothing()],
            )
        )
        assert EARLIER_RECONCILER in fresh.deployments()
        assert prefect_deploy(fresh.address.api, tmp_path).returncode == 0
        assert fresh.deployments() == sorted(PARAMETERS)
        assert client.read_automations_by_name(EARLIER_AUTOMATION) == []


def test_leases_that_a_restart_of_the_server_forgets_are_told(fresh: Stack, haas: Command) -> None:
    """As they are with Prefect's own defaults."""
    haas.environment["PREFECT_API_URL"] = fresh.address.api
    limited = ", ".join(sorted(LIMITS))
    assert line_of(mistakes.MEMORY_LEASES, names=limited, storage=KEPT_LEASES) in haas.check()


def test_deploying_again_into_a_work_pool_for_containers(fresh: Stack, tmp_path: Path) -> None:
    """Its name, image, volumes and environment come from variables; Prefect offers no image."""
    with fresh.client() as client:
        docker = client.read_worker_metadata()["prefect-docker"]["docker"]
        template = docker["default_base_job_configuration"]
        wanted = WorkPoolCreate(name="whales", type="docker", base_job_template=template)
        client.create_work_pool(wanted)
    variables = {"image": "haas-media:1", "volumes": ["/mnt/media:/libraries"]}
    done = prefect_deploy(
        fresh.address.api,
        tmp_path,
        HAAS_WORK_POOL="whales",
        HAAS_CODE_DIR="/app",
        HAAS_JOB_VARIABLES=json.dumps(variables),
        HAAS_JOB_ENV='{"HAAS_DATA_DIR": "/data", "N": 1}',
        HAAS_ENCODING_LIMIT="3",
        HAAS_TIMEZONE="Europe/Berlin",
        HAAS_REFRESH_SCHEDULE="off",
        HAAS_SCAN_SCHEDULE="15 */2 * * *",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "?" not in done.stdout
    environment = {**ENV, "HAAS_DATA_DIR": "/data", "N": "1"}
    found = deployed(fresh, "whales")
    assert found.keys() == PARAMETERS.keys()
    for each in found.values():
        assert each.job_variables == {**variables, "env": environment}
        assert each.pull_steps == code_in("/app")
    limit = found["encoding/on-demand"].global_concurrency_limit
    assert limit is not None
    assert limit.limit == 3
    assert [each.active for each in found["metadata-refresh/weekly"].schedules] == [False]
    (scan,) = (each.schedule for each in found["metadata-scan/hourly"].schedules)
    assert (scan.timezone, getattr(scan, "cron", None)) == ("Europe/Berlin", "15 */2 * * *")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"HAAS_WORK_POOL": "a/b"}, "HAAS_WORK_POOL is 'a/b': give a name without"),
        ({"HAAS_WORK_POOL": "{{ x }}"}, "HAAS_WORK_POOL is '{{ x }}': give a name without"),
        ({"HAAS_ENCODING_LIMIT": "two"}, "HAAS_ENCODING_LIMIT is 'two': give a whole number"),
        ({"PREFECT_API_URL": "http://127.0.0.1:1/api"}, "http://127.0.0.1:1/api does not answer."),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_deployed(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    given = {"PREFECT_API_URL": "http://127.0.0.1:2/api"} | variables
    done = prefect_deploy(given.pop("PREFECT_API_URL"), tmp_path, **given)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert "Deploying" not in done.stdout


def test_an_address_without_api_is_said(haas: Command, tmp_path: Path) -> None:
    with contextlib.closing(HttpServer(lambda *_: Reply(404))) as server:
        address = f"http://127.0.0.1:{server.port}"
        done = prefect_deploy(address, tmp_path)
        shown = haas("worker", environment={"PREFECT_API_URL": address})
    assert (done.returncode, "Deploying" in done.stdout, shown.code) == (1, False, 1)
    for said in (done.stderr, shown.err):
        assert f"{address} answers with 404. Correct PREFECT_API_URL, which ends in /api" in said
        assert said.count("\n") == 1


def test_a_server_that_refuses_is_said(haas: Command, tmp_path: Path) -> None:
    def answer(path: str, *_: object) -> Reply:
        return Reply(200 if path == "/api/health" else 401, b"{}")

    with contextlib.closing(HttpServer(answer)) as server:
        address = f"http://127.0.0.1:{server.port}/api"
        there = {"PREFECT_API_URL": address, "HAAS_DATA_DIR": str(tmp_path / "data")}
        said = [haas(each, environment=there).err for each in ("worker", "up")]
    for text in said:
        assert text.startswith(f"haas: {address} answers with 401. Correct PREFECT_API_URL")
        assert text.count("\n") == 1


def test_no_other_command_makes_a_work_pool() -> None:
    for line in (
        "/usr/bin/prefect deploy --all",
        "/x/prefect --no-prompt deploy",
        "prefect deploy",
        "prefect --profile home deploy",
    ):
        assert is_deploying(line.split()), line
    for line in (
        "prefect deploy --help",
        "/bin/prefect deployment ls",
        "prefect --profile deploy version",
        "prefect",
        "haas deploy",
    ):
        assert not is_deploying(line.split()), line
    assert not is_deploying([""])
