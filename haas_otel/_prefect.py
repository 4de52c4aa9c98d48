"""What is used of Prefect that it does not call public, each with why.

A version that lacks one of these says so in a test, not in somebody's run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# A task's own ``task_run_name`` is replaced by ours, which has to give what it would have given.
from prefect._internal.engine import resolve_custom_task_run_name

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["label_created", "resolve_custom_task_run_name"]


def label_created(client: PrefectClient, labels: dict[str, str]) -> None:
    """Have the task runs that a client creates carry labels.

    A task worker may have a run before a second request could label it, and Prefect's client has no
    way to create one with labels: so its HTTP client adds them on the way.
    """
    http = client._client
    post = http.post

    async def labelled(url: Any, *args: Any, json: Any = None, **options: Any) -> Any:
        if url == "/task_runs/":
            json = {**json, "labels": {**json.get("labels", {}), **labels}}
        return await post(url, *args, json=json, **options)

    http.post = labelled  # type: ignore[method-assign]
