"""What `prefect deploy --all` leaves on a real server."""

from __future__ import annotations

import contextlib
import json
import re
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
from deployments.work_pool import deployments_of
from tests.deployments.conftest import ROOT, clean_environment

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

    from deployments.stack import Stack

pytestmark = pytest.mark.e2e

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
    assert wait_until(enough, 120, every=0.5)
    fresh.stop()
    database_file = fresh.data_dir / "prefect" / "prefect.db"
    with contextlib.closing(sqlite3.connect(database_file)) as database:
        for column in ("expected_start_time", "next_scheduled_start_time"):
            database.execute(f"UPDATE flow_run SET {column} = datetime({column}, '-60 days')")
        database.commit()
    fresh.start_server()
    with fresh.client() as client:
        runs = client.read_flow_runs(limit=200)
        names = {each.id: each.name for each in client.read_deployments()}
    now = datetime.now(UTC)
    late = [run for run in runs if run.expected_start_time and run.expected_start_time < now]
    assert Counter(names[run.deployment_id] for run in late if run.deployment_id) == {
        "hourly": 1,
        "nightly": 1,
        "weekly": 1,
    }


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


def test_no_other_command_makes_a_work_pool() -> None:
    for line in (
        "/usr/bin/prefect deploy --all",
        "/x/prefect --no-prompt deploy",
        "prefect deploy",
    ):
        assert is_deploying(line.split()), line
    for line in ("prefect deploy --help", "/bin/prefect deployment ls", "prefect", "haas deploy"):
        assert not is_deploying(line.split()), line
    assert not is_deploying([""])
