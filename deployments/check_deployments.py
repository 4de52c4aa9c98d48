"""The part of ``haas check`` that looks at deployments, and at what keeps their spans true."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deployments import check_mistakes as mistakes
from deployments.check_mistakes import Finding
from deployments.defaults import RECONCILER
from deployments.work_pool import deployments_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "haas-media"
FILE = Path(__file__).resolve().parent.parent / "prefect.yaml"


def deployment_findings(
    client: SyncPrefectClient, pool: WorkPool, *, working: bool
) -> Iterator[Finding]:
    """Look at the deployments of the work pool.

    Args:
        client: a client of the server.
        pool: the work pool.
        working: whether a worker is online; without one, nothing can be ready.
    """
    found = deployments_of(client, pool.name)
    if not found:
        yield Finding("deployments", "wrong", "There is none. Run `prefect deploy --all`.")
        return
    wrong = [
        *_not_deployed(set(found)),
        *(_not_ready(found, pool) if working else ()),
        *(_without_code(found) if pool.type == "process" else ()),  # else it is in an image
    ]
    yield from wrong or [Finding("deployments", "right", f"{len(found)} in the work pool")]
    yield from _reconciler(client, found)
    if pool.type == "docker":
        yield from _without_volume(found, pool)


def queue_findings(client: SyncPrefectClient, pool: WorkPool) -> Iterator[Finding]:
    """Look for queues of the work pool that are paused."""
    for queue in client.read_work_queues(work_pool_name=pool.name):
        if queue.is_paused:
            yield mistakes.QUEUE_PAUSED.found(queue=queue.name, pool=pool.name)


def _not_deployed(deployed: set[str]) -> Iterator[Finding]:
    missing = sorted(set(_in_file()) - deployed - {RECONCILER})
    if missing:
        yield mistakes.NOT_DEPLOYED.found(names=", ".join(missing))


def _in_file() -> list[str]:
    """Return what ``prefect.yaml`` beside this code deploys, if it is there."""
    import yaml

    if not FILE.exists():
        return []
    wanted = yaml.safe_load(FILE.read_text())["deployments"]
    return [f"{_flow_name(each['entrypoint'])}/{each['name']}" for each in wanted]


def _flow_name(entrypoint: str) -> str:
    # Our flows are named after their modules; a test holds this.
    return Path(entrypoint.partition(":")[0]).stem.replace("_", "-")


def _not_ready(found: dict[str, DeploymentResponse], pool: WorkPool) -> Iterator[Finding]:
    names = [name for name, each in sorted(found.items()) if each.status == "NOT_READY"]
    if names:
        yield mistakes.NOT_READY.found(names=", ".join(names), pool=pool.name)


def _without_code(found: dict[str, DeploymentResponse]) -> Iterator[Finding]:
    gone: dict[str, list[str]] = {}
    for name, each in sorted(found.items()):
        for folder in _folders(each.pull_steps or []):
            if not Path(folder).is_dir():
                gone.setdefault(folder, []).append(name)
    for folder, names in gone.items():
        yield mistakes.CODE_IS_GONE.found(names=", ".join(names), path=folder)


def _folders(steps: list[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        inputs = step.get("prefect.deployments.steps.set_working_directory")
        if inputs and "directory" in inputs:
            yield str(inputs["directory"])


def _reconciler(
    client: SyncPrefectClient, found: dict[str, DeploymentResponse]
) -> Iterator[Finding]:
    ours = found.get(RECONCILER)
    if ours is None:
        yield mistakes.NO_RECONCILER.found(name=RECONCILER)
    elif ours.paused or not any(schedule.active for schedule in ours.schedules):
        yield mistakes.RECONCILER_PAUSED.found(name=RECONCILER)
    elif not any(
        each.enabled
        for each in client.read_resource_related_automations(f"prefect.deployment.{ours.id}")
    ):
        yield mistakes.RECONCILER_UNTRIGGERED.found(name=RECONCILER)


def _without_volume(found: dict[str, DeploymentResponse], pool: WorkPool) -> Iterator[Finding]:
    """Find the deployments whose containers keep spans in themselves."""
    variables = pool.base_job_template.get("variables", {}).get("properties", {})
    defaults = {name: each.get("default") for name, each in variables.items()}
    lost: dict[str, list[str]] = {}
    for name, each in sorted(found.items()):
        given = {**defaults, **each.job_variables}
        env = {**(defaults.get("env") or {}), **(each.job_variables.get("env") or {})}
        place = PurePosixPath(env.get("HAAS_OTEL_DIR") or env.get("HAAS_DATA_DIR") or "~/.haas")
        mounted = [str(volume).split(":")[1] for volume in given.get("volumes") or ()]
        if TAG in each.tags and not any(place.is_relative_to(point) for point in mounted):
            lost.setdefault(str(place), []).append(name)
    for path, names in lost.items():
        yield mistakes.SPANS_GO_WITH_CONTAINERS.found(names=", ".join(names), path=path)
