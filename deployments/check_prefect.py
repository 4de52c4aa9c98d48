"""The part of ``haas check`` that looks at the Prefect server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deployments import check_mistakes as mistakes
from deployments.check_mistakes import Finding
from deployments.server import KEPT_LEASES, ServerError, connected
from deployments.work_pool import (
    WorkPoolNameError,
    deployments_of,
    online_workers,
    work_pool_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import WorkPool

    from haas_media.settings import Settings

# Requests a second, over all runs at once; TMDb says "somewhere in the 40 requests per second".
TMDB_ALLOWS = 40
# Servers that runs of ours were tried on, with every ending: the first, and the last minor.
OLDEST_SERVER, NEWEST_SERVER = "3.8.8", "3.9"


def server_findings(settings: Settings | None) -> Iterator[Finding]:
    """Look at the server, the work pool, the deployments and the workers.

    Args:
        settings: the settings, if they are right: their data directory is where a stack of
            ``haas up`` would have left its address.
    """
    try:
        with connected(settings.data_dir if settings else None) as (api_url, client):
            yield version_finding(api_url, client.api_version())
            yield from _work_pool(client, settings)
    except ServerError as error:
        yield Finding("Prefect", "wrong", str(error))


def version_finding(api_url: str, theirs: str) -> Finding:
    """Compare the server's version with that of this program.

    Args:
        api_url: the server's address.
        theirs: the version that it says it has.
    """
    import prefect
    from packaging.version import Version

    ours = prefect.__version__
    told = {"url": api_url, "theirs": theirs, "ours": ours}
    server, program = Version(theirs), Version(ours)
    if server < Version(OLDEST_SERVER) or server.release[:2] > Version(NEWEST_SERVER).release:
        return mistakes.UNTRIED_VERSION.found(**told, oldest=OLDEST_SERVER, newest=NEWEST_SERVER)
    if server.release[:2] != program.release[:2] or server < program:
        return mistakes.OTHER_VERSION.found(**told)
    return Finding("Prefect", "right", f"{api_url}, version {theirs}")


def _work_pool(client: SyncPrefectClient, settings: Settings | None) -> Iterator[Finding]:
    from prefect.exceptions import ObjectNotFound

    from deployments.check_deployments import deployment_findings, queue_findings

    try:
        name = work_pool_name()
        pool = client.read_work_pool(name)
    except WorkPoolNameError as error:
        yield Finding("work pool", "wrong", str(error))
        return
    except ObjectNotFound:
        text = f"{name} is missing. Make it: prefect work-pool create {name} --type process"
        yield Finding("work pool", "wrong", text)
        return
    if pool.is_paused:
        text = f"{name} is paused: no run starts. prefect work-pool resume {name}"
        yield Finding("work pool", "wrong", text)
    else:
        yield Finding("work pool", "right", f"{name} ({pool.type})")
    server = client.request("GET", "/admin/settings").json()["server"]
    yield from _leases(client, pool, server["concurrency"]["lease_storage"])
    yield from queue_findings(client, pool)
    online = sorted(online_workers(client, pool.name))
    yield from deployment_findings(client, pool, working=bool(online))
    yield _workers(online, pool)
    yield from _messages(client)
    yield from _late(client, pool)
    if len(online) > 1:
        yield from _several(len(online), settings, server["events"]["messaging_broker"])


def _leases(client: SyncPrefectClient, pool: WorkPool, storage: str) -> Iterator[Finding]:
    """Look at what a restart of the server does to runs that hold a lease for their limit."""
    if not storage.endswith(".memory"):
        return
    limited = [
        name
        for name, each in sorted(deployments_of(client, pool.name).items())
        if each.global_concurrency_limit
    ]
    if limited:
        yield mistakes.MEMORY_LEASES.found(names=", ".join(limited), storage=KEPT_LEASES)


def _workers(online: list[str], pool: WorkPool) -> Finding:
    if not online:
        text = f"None is online. Start one: {_start(pool)}"
        return Finding("workers", "wrong", text)
    return Finding("workers", "right", ", ".join(online))


def _messages(client: SyncPrefectClient) -> Iterator[Finding]:
    """Send a test message, and look whether the automations are as they are to be."""
    from deployments.automations import NOTIFY, NotifyError, drift, send_test

    if not (address := os.environ.get(NOTIFY, "").strip()):
        return
    try:
        send_test(address)
        other = drift(client, address)
    except NotifyError as error:
        yield Finding("messages", "wrong", str(error))
        return
    if other:
        text = f"Not as they are to be: {', '.join(other)}. Run python -m deployments.automations"
        yield Finding("messages", "wrong", text)
    else:
        yield Finding("messages", "right", f"a test message was sent to {NOTIFY}")


def _start(pool: WorkPool) -> str:
    if pool.type != "process":
        return f"prefect worker start --pool {pool.name}"
    return "haas worker"


def _late(client: SyncPrefectClient, pool: WorkPool) -> Iterator[Finding]:
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter

    late = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Late"]}}})
    in_pool = WorkPoolFilter.model_validate({"name": {"any_": [pool.name]}})
    found = client.read_flow_runs(flow_run_filter=late, work_pool_filter=in_pool)
    if found:
        yield mistakes.LATE_RUNS.found(count=len(found))


def _several(count: int, settings: Settings | None, broker: str) -> Iterator[Finding]:
    """Look at what only matters with more than one worker."""
    if settings is not None and settings.database_url.startswith("sqlite"):
        yield mistakes.SHARED_SQLITE.found(count=count)
    if settings is not None and settings.tmdb.token is not None:
        rate = settings.tmdb.requests_per_second
        if rate * count > TMDB_ALLOWS:
            yield mistakes.TOO_MANY_REQUESTS.found(
                count=count, rate=rate, most=TMDB_ALLOWS, share=TMDB_ALLOWS // count or 1
            )
    if broker.endswith(".memory"):
        yield mistakes.MEMORY_MESSAGING.found(count=count)
