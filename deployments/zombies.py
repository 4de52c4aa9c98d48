"""The automation that lets Prefect flag runs whose process and worker died together.

    python -m deployments.zombies

A run sends a heartbeat every 30 seconds (``PREFECT_FLOWS_HEARTBEAT_FREQUENCY``, set by the
deployments). When none came for 90, the server marks the run Crashed; the reconciler then ends its
spans. Only runs with the tag of our deployments are looked at: others may send no heartbeats.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events import Automation
    from prefect.events.schemas.automations import AutomationCore

NAME = "haas-media: flag zombie runs"
TAG = "haas-media"
SILENCE = timedelta(seconds=90)
MESSAGE = "No heartbeat for {seconds:.0f} seconds: the run's process and its worker are gone."
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def flag_zombies(client: SyncPrefectClient, silence: timedelta = SILENCE) -> None:
    """Create the automation, or bring the one that is there up to date.

    Args:
        client: a client of the server that is to have it.
        silence: how long a run may send nothing; three heartbeats at the least.

    Raises:
        httpx.HTTPError: the server cannot be reached or refuses.
    """
    wanted = _automation(silence)
    existing: list[Automation] = client.read_automations_by_name(NAME)
    if not existing:
        client.create_automation(wanted)
    for automation in existing:
        client.update_automation(automation.id, wanted)


def _automation(silence: timedelta) -> AutomationCore:
    from prefect.client.schemas.objects import StateType
    from prefect.events import EventTrigger, Posture, ResourceSpecification
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore

    signs_of_life = {"prefect.flow-run.heartbeat", "prefect.flow-run.Running"}
    return AutomationCore(
        name=NAME,
        description="Marks runs as Crashed whose process and worker died without a word.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
            ),
            after=signs_of_life,
            expect={*signs_of_life, *(f"prefect.flow-run.{end}" for end in _ENDS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=MESSAGE.format(seconds=silence.total_seconds()),
                force=False,
            )
        ],
    )


def main() -> None:
    """Set the automation up on the server of ``PREFECT_API_URL``."""
    from prefect.client.orchestration import get_client

    seconds = float(os.environ.get("HAAS_ZOMBIE_SECONDS", SILENCE.total_seconds()))
    with get_client(sync_client=True) as client:
        flag_zombies(client, timedelta(seconds=seconds))


if __name__ == "__main__":
    main()
