"""What earlier versions left on servers, and is to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.orchestration import SyncPrefectClient

# Marks silent runs as Crashed after 90 s: after an outage of the server, living ones.
AUTOMATION = "haas-media: flag zombie runs"
# Ran every five minutes; two reconcilers that look at the same moment may tell a span twice.
RECONCILER = "reconcile-spans/every-5-minutes"


def take_away(client: SyncPrefectClient, *, deployments: bool) -> list[str]:
    """Delete what earlier versions left on a server.

    Args:
        client: a client of the server.
        deployments: whether to delete deployments, too: not before they have a successor.

    Returns:
        a sentence for each thing that the server does not let us delete.

    Raises:
        httpx.TransportError: the server cannot be reached.
    """
    found = [f"the automation {AUTOMATION!r}"] * _refused(lambda: _automation(client))
    if deployments:
        found += [f"the deployment {RECONCILER}"] * _refused(lambda: _reconciler(client))
    return [f"The server refuses to delete {each} of an earlier version." for each in found]


def _automation(client: SyncPrefectClient) -> None:
    for each in client.read_automations_by_name(AUTOMATION):
        client.delete_automation(each.id)


def _reconciler(client: SyncPrefectClient) -> None:
    client.delete_deployment(client.read_deployment_by_name(RECONCILER).id)


def _refused(delete: Callable[[], None]) -> bool:
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        delete()
    except ObjectNotFound:
        return False
    except PrefectHTTPStatusError as error:
        return error.response.status_code != 404  # else somebody else was quicker
    return False
