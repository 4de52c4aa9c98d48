"""What a person did in the UI and `prefect deploy` would undo: pauses, schedules, triggers.

Prefect unpauses what it deploys, sets schedules as the file has them, deletes those made in the UI,
and makes triggers anew. What was there before is put back when the process ends. A variable that is
set for a schedule goes before it: that is said.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from deployments.defaults import SCHEDULES, TIMEZONE
from deployments.work_pool import deployments_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation


class Before(NamedTuple):
    """A deployment and its triggers as they were before it was deployed again."""

    deployment: DeploymentResponse
    triggers: list[Automation]


def remember(client: SyncPrefectClient) -> dict[str, Before]:
    """Return the deployments as they are, by their names."""
    return {
        name: Before(each, _triggers(client, each)) for name, each in deployments_of(client).items()
    }


def said(before: dict[str, Before]) -> list[str]:
    """Return a sentence for each thing that is kept, and for each that deploying undoes."""
    sentences = []
    for name, (deployment, triggers) in sorted(before.items()):
        variable = _variable(name)
        given = _given(variable)
        if deployment.paused:
            sentences.append(f"{name} is paused, and stays so.")
        for each in deployment.schedules:
            if each.slug is None:
                sentences.append(f"{name}: a schedule that was made in the UI stays.")
            elif not each.active and given and given.lower() != "off":
                sentences.append(f"{name}: its schedule is paused; {variable} switches it on.")
            elif not each.active and not given:
                sentences.append(f"{name}: its schedule is paused, and stays so.")
        for trigger in triggers:
            if not trigger.enabled:
                what = f"{variable} switches it on" if given else "stays so"
                sentences.append(f"{name}: its trigger is switched off; it {what}.")
        if variable and not deployment.schedules:
            sentences.append(
                f"{name}: its schedule was deleted, and is made anew; {variable}=off does without."
            )
    return sentences


def put_back(client: SyncPrefectClient, before: dict[str, Before]) -> None:
    """Have the deployments as they were before, in what a person decides in the UI."""
    for name, now in deployments_of(client).items():
        if (was := before.get(name)) is None:
            continue
        if was.deployment.paused and not now.paused:
            client.pause_deployment(now.id)
        given = bool(_given(_variable(name)))
        for schedule in was.deployment.schedules:
            if schedule.slug is None or not given:
                _put_back_schedule(client, now, schedule)
        off = {trigger.name for trigger in was.triggers if not trigger.enabled and not given}
        for trigger in _triggers(client, now):
            if trigger.name in off and trigger.enabled:
                client.pause_automation(trigger.id)


def _put_back_schedule(
    client: SyncPrefectClient, now: DeploymentResponse, was: DeploymentSchedule
) -> None:
    if was.slug is None:
        if not any(each.schedule == was.schedule for each in now.schedules):
            made = client.create_deployment_schedules(now.id, [(was.schedule, was.active)])
            if was.parameters:
                client.update_deployment_schedule(now.id, made[0].id, parameters=was.parameters)
        return
    for each in now.schedules:
        zone = getattr(each.schedule, "timezone", None)
        wanted = was.schedule
        if os.environ.get(TIMEZONE) and hasattr(wanted, "timezone"):
            wanted = wanted.model_copy(update={"timezone": zone})
        kept = was.active, wanted, was.parameters
        if each.slug == was.slug and (each.active, each.schedule, each.parameters) != kept:
            client.update_deployment_schedule(
                now.id, each.id, active=was.active, schedule=wanted, parameters=was.parameters
            )


def _triggers(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[Automation]:
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return [each for each in related if each.name.startswith("haas-media: ")]


def _variable(name: str) -> str | None:
    found = next((each for each in SCHEDULES.values() if each.deployment == name), None)
    return (found.switch or found.variable) if found else None


def _given(variable: str | None) -> str:
    return os.environ.get(variable, "").strip() if variable else ""
