"""Prefect events: what has changed in a library, told by whoever saw it, and heard by a scan.

An event ``haas.library.changed`` has the paths; a trigger of the deployment
``metadata-scan/on-event`` makes each a run of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.orchestration import SyncPrefectClient

    from haas_media.settings import Library

SCAN = "metadata-scan/on-event"
CHANGED = "haas.library.changed"
WRITTEN = "haas.file.written"
RESOURCE = "haas.library"  # with the id of a library's title behind it
# Prefect bounds the parameters of a run.
MAX_PATHS, MAX_BYTES = 2_000, 200_000


def emit(
    client: SyncPrefectClient,
    name: str,
    library: str,
    paths: Iterable[str],
    *,
    traceparent: str | None = None,
    event: str | None = None,
) -> None:
    """Hand an event to the server; return once the server has taken it.

    Prefect's own emitter hands events to a thread, which may end with the process.

    Args:
        client: of the server.
        name: ``CHANGED`` or ``WRITTEN``.
        library: the title of the library.
        paths: what has changed, absolute; see ``fold``.
        traceparent: the W3C trace context of whoever asked.
        event: its id, to know its run by; by default a new one.
    """
    from prefect.events import Event, Resource

    sent = Event(
        id=UUID(event) if event else uuid4(),
        event=name,
        resource=Resource(
            {"prefect.resource.id": f"{RESOURCE}.{library}", "prefect.resource.name": library}
        ),
        payload={"library": library, "paths": fold(paths), "traceparent": traceparent},
    )
    client.request("POST", "/events", json=[sent.model_dump(mode="json")])


def tell_written(path: str, libraries: Iterable[Library]) -> None:
    """Emit ``haas.file.written`` for a file that is in a library, so that a scan takes it up.

    A server that takes no event costs a line in the log: the next scan of all finds the file.
    """
    from httpx import HTTPError
    from prefect import get_run_logger
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    from haas_media.places import Places
    from haas_otel import ids

    place = Places(libraries).find(path)
    if place is None:
        return
    caller = ids.caller_in(ids.current_flow_run())
    try:
        with get_client(sync_client=True) as client:
            emit(client, WRITTEN, place.library, [path], traceparent=caller)
    except (HTTPError, PrefectException) as error:
        get_run_logger().warning("The next scan of all libraries finds it: %s", error)


def fold(paths: Iterable[str]) -> list[str]:
    """Return paths in order, folders in place of what is in them while they are too many.

    So do they for a name that is not UTF-8, which JSON cannot hold.
    """
    kept = sorted(set(map(_sayable, paths)))
    while len(kept) > 1 and (
        len(kept) > MAX_PATHS or sum(len(path.encode()) + 4 for path in kept) > MAX_BYTES
    ):
        deepest = max(path.count("/") for path in kept)
        kept = sorted(
            {path.rpartition("/")[0] if path.count("/") == deepest else path for path in kept}
        )
    return kept


def _sayable(path: str) -> str:
    while path != path.encode("utf-8", "replace").decode():
        path = path.rpartition("/")[0]
    return path


def continue_trace(traceparent: str | None) -> None:
    """Have the running flow run go on with the trace of whoever asked for it.

    By Prefect's label for that, on the server, too: whoever asks about the run finds its trace.
    """
    from haas_otel import ids, server

    flow_run = ids.current_flow_run()
    if traceparent and flow_run:
        caller = {ids.TRACEPARENT: flow_run.labels.setdefault(ids.TRACEPARENT, traceparent)}
        ids.remember_caller(flow_run)
        server.within_bound(lambda asked: asked.mark(flow_run.id, caller))


def page_of(event: str) -> str:
    """Return the address of an event's page in the Prefect UI, or its id where that has none.

    Args:
        event: its id and its day, in UTC: what a trigger can hand on.
    """
    from prefect.utilities.urls import url_for

    event_id, _, day = event.partition(" ")
    return url_for("received-event", event_id, occurred=day) or event_id
