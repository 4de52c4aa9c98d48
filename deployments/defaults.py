"""What ``prefect.yaml`` leaves open, from the environment where ``prefect deploy`` runs.

Prefect runs ``from_environment`` as a build step and puts what it returns into the file's
``{{ haas... }}`` places. Its own ``{{ $VARIABLE }}`` has no defaults.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule: of which deployment, the variable that moves it, its cron expression else.

    With a ``switch`` it is off unless that variable is set.
    """

    deployment: str
    variable: str
    default: str
    switch: str | None = None


AUDIT_BACKEND = "HAAS_AUDIT_BACKEND"
RECONCILER = "reconcile-spans/hourly"
SCHEDULES = {
    "scan": Schedule("metadata-scan/hourly", "HAAS_SCAN_SCHEDULE", "0 * * * *"),
    "cleanup": Schedule("person-cleanup/nightly", "HAAS_CLEANUP_SCHEDULE", "30 3 * * *"),
    "refresh": Schedule("metadata-refresh/weekly", "HAAS_REFRESH_SCHEDULE", "0 4 * * 1"),
    "reconcile": Schedule(RECONCILER, "HAAS_RECONCILE_SCHEDULE", "17 * * * *"),
    "audit": Schedule("audit-spans/daily", "HAAS_AUDIT_SCHEDULE", "0 5 * * *", AUDIT_BACKEND),
}
CRON_FIELDS = 5
NO_SCHEDULES = {each.variable: "off" for each in SCHEDULES.values()}
TIMEZONE = "HAAS_TIMEZONE"
CODE_DIR = "HAAS_CODE_DIR"
ENCODING_LIMIT = "HAAS_ENCODING_LIMIT"
ENCODING_AGAIN = "HAAS_ENCODING_AGAIN"
JOB_ENV = "HAAS_JOB_ENV"
JOB_VARIABLES = "HAAS_JOB_VARIABLES"

ENVIRONMENT = {
    # Prefect's own spans would double ours.
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    # Seconds; Prefect takes no less. After HAAS_OTEL_SILENCE_SECONDS without one the reconciler
    # suspects a run, and waits for two more: a rarer one would make it wait longer.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # prefect.toml switches plugins on for `prefect deploy`; a run starts faster without.
    "PREFECT_PLUGINS_ENABLED": "false",
}


def from_environment() -> dict[str, Any]:
    """Return the values for ``prefect.yaml``.

    Raises:
        ValueError: a variable is wrong; the text names it and says what it takes.
    """
    return {
        **{name: _scheduled(schedule) for name, schedule in SCHEDULES.items()},
        "timezone": _timezone(),
        "audit_backend": _audit_backend(),
        "code": str(Path(os.environ.get(CODE_DIR, "").strip()).expanduser().absolute()),
        "encoding": {"limit": _encoding_limit(), "tags": _encoding_tags()},
        "job_variables": _job_variables(),
    }


def _scheduled(schedule: Schedule) -> dict[str, Any]:
    from prefect.client.schemas.schedules import CronSchedule

    cron = os.environ.get(schedule.variable, "").strip() or schedule.default
    switched_on = schedule.switch is None or os.environ.get(schedule.switch, "").strip()
    if cron.lower() == "off":
        return {"cron": schedule.default, "active": False}
    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise ValueError(
            f'{schedule.variable} is {cron!r}: give a cron expression such as "{schedule.default}",'
            ' or "off".'
        ) from None
    if not cron.startswith("@") and len(cron.split()) != CRON_FIELDS:
        raise ValueError(
            f"{schedule.variable} is {cron!r}: give {CRON_FIELDS} fields. A sixth is for seconds,"
            " and runs it each second."
        )
    if not _comes(cron):
        raise ValueError(f"{schedule.variable} is {cron!r}: no such day comes.")
    return {"cron": cron, "active": bool(switched_on)}


def _comes(cron: str) -> bool:
    """Say whether a cron expression has a date at all."""
    from prefect._vendor.croniter.croniter import croniter  # by which the server schedules

    try:
        croniter(cron).get_next()  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return True


def _audit_backend() -> str:
    from flows.backends import BackendError, backend

    name = os.environ.get(AUDIT_BACKEND, "").strip() or "store"
    try:
        backend(name)
    except BackendError as error:
        raise ValueError(f"{AUDIT_BACKEND}: {error}") from None
    return name


def _timezone() -> str:
    name = os.environ.get(TIMEZONE, "").strip() or "UTC"
    if name not in available_timezones():
        raise ValueError(f"{TIMEZONE} is {name!r}: give a name such as Europe/Berlin or UTC.")
    return name


def _encoding_limit() -> int:
    text = os.environ.get(ENCODING_LIMIT, "").strip() or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{ENCODING_LIMIT} is {text!r}: give a whole number, 1 or more.")
    return int(text)


def _encoding_tags() -> list[str]:
    """Return the tags of encodings; with flows.again's one, what the system cuts off runs again."""
    text = os.environ.get(ENCODING_AGAIN, "").strip().lower() or "false"
    if text not in ("true", "false"):
        raise ValueError(f'{ENCODING_AGAIN} is {text!r}: give "true" or "false".')
    return ["haas-media", "encoding", *(["runs-again"] if text == "true" else [])]


def _job_variables() -> dict[str, Any]:
    variables = _json_object(JOB_VARIABLES, '{"image": "haas-media:latest"}')
    if "env" in variables:
        raise ValueError(f'{JOB_VARIABLES} has "env": give variables for runs in {JOB_ENV}.')
    environment = _json_object(JOB_ENV, '{"HAAS_DATA_DIR": "/data"}')
    further = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in environment.items()
    }
    return variables | {"env": ENVIRONMENT | further}


def _json_object(variable: str, example: str) -> dict[str, Any]:
    text = os.environ.get(variable, "").strip() or "{}"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{variable} is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{variable} must be a JSON object such as {example}.")
    return found
