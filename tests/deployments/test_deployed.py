"""What `prefect deploy --all` leaves on a real server."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.schemas.actions import WorkPoolCreate

from deployments.prefect_plugin import is_deploying
from deployments.process import wait_until
from deployments.stack import Stack
from tests.deployments.conftest import ROOT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.responses import DeploymentResponse

pytestmark = pytest.mark.e2e

NEVER = datetime.max.replace(tzinfo=UTC)
PARAMETERS = {
    "metadata-scan/hourly": ["library", "refresh_existing"],
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
        "resolution",
        "hardware_acceleration",
        "device",
    ],
    "reconcile-spans/every-5-minutes": ["lookback_days", "quiet_seconds"],
}
LIMITS = {
    "metadata-scan/hourly": (1, "CANCEL_NEW"),
    "metadata-refresh/weekly": (1, "CANCEL_NEW"),
    "person-cleanup/nightly": (1, "ENQUEUE"),
    "encoding/on-demand": (1, "ENQUEUE"),
    "reconcile-spans/every-5-minutes": (1, "CANCEL_NEW"),
}
SCHEDULES = {
    "metadata-scan/hourly": "0 * * * *",
    "metadata-refresh/weekly": "0 4 * * 1",
    "person-cleanup/nightly": "30 3 * * *",
    "reconcile-spans/every-5-minutes": "*/5 * * * *",
}

ENV = {
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_PLUGINS_ENABLED": "false",
}


def code_in(directory: str) -> list[dict[str, Any]]:
    return [{"prefect.deployments.steps.set_working_directory": {"directory": directory}}]


def deployment(stack: Stack, name: str) -> DeploymentResponse:
    with stack.client() as client:
        return client.read_deployment_by_name(name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_its_form_describes_each_parameter(stack: Stack, name: str) -> None:
    schema: dict[str, Any] = deployment(stack, name).parameter_openapi_schema or {}
    assert list(schema["properties"]) == PARAMETERS[name]
    for parameter, field in schema["properties"].items():
        assert field["title"] != parameter
        assert len(field["description"]) > 10
    assert deployment(stack, name).enforce_parameter_schema


@pytest.mark.parametrize("name", PARAMETERS)
def test_its_limit_and_schedule(stack: Stack, name: str) -> None:
    found = deployment(stack, name)
    limit = found.global_concurrency_limit
    options = found.concurrency_options
    told = (limit.limit, options.collision_strategy.value) if limit and options else None
    assert told == LIMITS.get(name)
    schedules = [each.schedule for each in found.schedules]
    assert [getattr(each, "cron", None) for each in schedules] == (
        [SCHEDULES[name]] if name in SCHEDULES else []
    )
    assert {each.timezone for each in schedules} <= {"UTC"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_where_it_runs(stack: Stack, name: str) -> None:
    found = deployment(stack, name)
    assert found.work_pool_name == "haas-media"
    assert found.job_variables == {"env": ENV}
    assert found.pull_steps == code_in(str(ROOT))


def test_scheduled_runs_are_made(stack: Stack) -> None:
    """Prefect's scheduler stops at an error with SQLAlchemy 2.1."""
    scan = deployment(stack, "metadata-scan/hourly")

    def scheduled() -> bool:
        with stack.client() as client:
            runs = client.read_flow_runs()
        return any(run.deployment_id == scan.id and run.auto_scheduled for run in runs)

    assert wait_until(scheduled, 90)


def test_zombie_runs_are_flagged(stack: Stack) -> None:
    from deployments.zombies import NAME

    with stack.client() as client:
        [automation] = client.read_automations_by_name(NAME)
    assert automation.enabled


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


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server, and nothing on it."""
    home = tmp_path_factory.mktemp("fresh")
    with Stack(home, port=0, environment=clean_environment(home)) as stack:
        stack.start_server()
        yield stack


def test_a_server_that_has_nothing_gets_everything(fresh: Stack, tmp_path: Path) -> None:
    """Its work pool, too, without which Prefect itself would refuse."""
    done = prefect_deploy(fresh.address.api, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "?" not in done.stdout
    assert fresh.deployments() == sorted(PARAMETERS)
    with fresh.client() as client:
        assert client.read_work_pool("haas-media").type == "process"


def test_a_work_pool_for_containers(fresh: Stack, tmp_path: Path) -> None:
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
        HAAS_JOB_ENV='{"HAAS_DATA_DIR": "/data"}',
        HAAS_ENCODING_LIMIT="3",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "?" not in done.stdout
    for name in PARAMETERS:
        found = deployment(fresh, name)
        assert found.work_pool_name == "whales"
        assert found.job_variables == {**variables, "env": {**ENV, "HAAS_DATA_DIR": "/data"}}
        assert found.pull_steps == code_in("/app")
    limit = deployment(fresh, "encoding/on-demand").global_concurrency_limit
    assert limit is not None
    assert limit.limit == 3


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"HAAS_WORK_POOL": "a/b"}, "HAAS_WORK_POOL is 'a/b': give a name without"),
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


def test_after_a_time_away_each_deployment_runs_once(tmp_path: Path) -> None:
    """A night without the server would else be made up for run by run."""
    environment = clean_environment(tmp_path) | {"HAAS_RECONCILE_SCHEDULE": "off"}

    def scheduled(stack: Stack) -> dict[str, int]:
        with stack.client() as client:
            runs = client.read_flow_runs(limit=200)
            now = datetime.now(UTC)
            late = [
                run for run in runs if run.expected_start_time and run.expected_start_time < now
            ]
            names = {each.id: each.name for each in client.read_deployments()}
        return dict(Counter(names[run.deployment_id] for run in late if run.deployment_id))

    with Stack(tmp_path, port=0, environment=environment) as stack:
        stack.start_server()
        stack.create_work_pool()
        stack.deploy()

        def enough() -> bool:
            with stack.client() as client:
                return len(client.read_flow_runs()) >= 9

        assert wait_until(enough, 90)
    with contextlib.closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        for column in ("expected_start_time", "next_scheduled_start_time"):
            database.execute(f"UPDATE flow_run SET {column} = datetime({column}, '-60 days')")
        database.commit()
    with Stack(tmp_path, port=0, environment=environment) as stack:
        stack.start_server()
        assert scheduled(stack) == {"hourly": 1, "nightly": 1, "weekly": 1}


@pytest.mark.parametrize(
    ("arguments", "deploying"),
    [
        (["/usr/bin/prefect", "deploy", "--all"], True),
        (["/usr/bin/prefect", "--no-prompt", "deploy", "--all"], True),
        (["prefect", "deploy"], True),
        (["/usr/bin/prefect", "deploy", "--help"], False),
        (["/usr/bin/prefect", "deployment", "ls"], False),
        (["/usr/bin/prefect"], False),
        (["/usr/bin/haas", "deploy"], False),
        ([""], False),
    ],
)
def test_no_other_command_makes_a_work_pool(arguments: list[str], deploying: bool) -> None:
    assert is_deploying(arguments) is deploying


def test_deploying_again_asks_nothing(stack: Stack, tmp_path: Path) -> None:
    done = prefect_deploy(
        stack.address.api, tmp_path, HAAS_TIMEZONE="Europe/Berlin", HAAS_REFRESH_SCHEDULE="off"
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "?" not in done.stdout
        refresh = deployment(stack, "metadata-refresh/weekly")
        assert [each.active for each in refresh.schedules] == [False]
        scan = deployment(stack, "metadata-scan/hourly")
        assert [each.schedule.timezone for each in scan.schedules] == ["Europe/Berlin"]
    finally:
        stack.deploy()
