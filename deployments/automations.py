"""Who is told of what: the automations of ``automations.yaml``, put up on a Prefect server.

    python -m deployments.automations

Only automations whose name begins with ``haas-media: `` and that belong to no deployment are
touched; what is as it should be is not written again, as each update makes a trigger forget what it
waits for. Paused ones stay paused.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from httpx import HTTPError

from deployments.traces import TracesError, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation, AutomationCore

FILE = Path(__file__).with_name("automations.yaml")
PREFIX = "haas-media: "
BLOCK = "haas-media"
NOTIFY = "HAAS_NOTIFY"
# After which time somebody is told of a long encoding, of no scan, of a silent machine.
TIMES = {"HAAS_ENCODING_LONG": "6h", "HAAS_SCAN_OVERDUE": "1d", "HAAS_MACHINE_GONE": "3m"}
LEAST_SECONDS = 10  # that Prefect lets a trigger wait for what does not come
# The trace of a run is that of whoever asked for it (Prefect's label, or an event's), else has the
# run's own id.
_TRACE = (
    "{% set caller = (flow_run.labels or {}).get('__OTEL_TRACEPARENT')"
    " or flow_run.parameters.traceparent %}"
    "{{ caller.split('-')[1] if caller else (flow_run.id | string).replace('-', '') }}"
)


class NotifyError(ValueError):
    """A variable that says who is told, or when, is wrong. The text names it."""


def block_of(address: str) -> Any:
    """Return the notification block of Prefect for an address.

    Args:
        address: of a webhook of Slack, Discord or Mattermost, of a workflow of Microsoft Teams, or
            any other http address, which gets ``{"subject": ..., "body": ...}``.

    Raises:
        NotifyError: it is no such address.
    """
    from prefect.blocks import notifications as blocks
    from pydantic import SecretStr

    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise NotifyError(
            f"{NOTIFY} is no address that messages can go to: give that of a webhook of Slack, "
            "Microsoft Teams, Discord or Mattermost, or any other with http:// or https://."
        )
    if host == "hooks.slack.com":
        return blocks.SlackWebhook(url=SecretStr(address))
    if host.endswith(".logic.azure.com"):
        try:
            return blocks.MicrosoftTeamsWebhook(url=SecretStr(address))
        except ValueError as error:
            raise NotifyError(f"{NOTIFY}: {error}") from None
    if host in ("discord.com", "discordapp.com") and parts.path.startswith("/api/webhooks/"):
        number, _, token = parts.path.removeprefix("/api/webhooks/").partition("/")
        return blocks.DiscordWebhook(
            webhook_id=SecretStr(number), webhook_token=SecretStr(token.strip("/"))
        )
    if re.fullmatch(r"/hooks/[a-z0-9]{26}", parts.path):
        return blocks.MattermostWebhook(
            hostname=host,
            port=parts.port or (443 if parts.scheme == "https" else 80),
            secure=parts.scheme == "https",
            token=SecretStr(parts.path.removeprefix("/hooks/")),
        )
    return blocks.CustomWebhookNotificationBlock(
        name=BLOCK,
        url=address,
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
        headers=None,
        cookies=None,
    )


def wanted(block_id: UUID, environment: Mapping[str, str] = os.environ) -> list[AutomationCore]:
    """Return the automations as they are to be.

    Args:
        block_id: of the block that messages go through.
        environment: says after which times somebody is told.

    Raises:
        NotifyError: a time is none.
    """
    import yaml
    from prefect.events.schemas.automations import AutomationCore

    filled = {"trace": _TRACE}
    for variable, default in TIMES.items():
        name, time = variable.removeprefix("HAAS_").lower(), environment.get(variable) or default
        filled |= {name: str(_seconds(variable, time)), f"{name}_words": time.strip()}
    return [
        AutomationCore.model_validate(
            {
                "name": PREFIX + each["name"],
                "description": each["description"],
                "trigger": each["trigger"],
                "actions": [
                    {
                        "type": "send-notification",
                        "block_document_id": block_id,
                        "subject": each["subject"],
                        "body": each["body"],
                    }
                ],
            }
        )
        for each in yaml.safe_load(Template(FILE.read_text()).substitute(filled))
    ]


def _seconds(variable: str, text: str) -> int:
    try:
        seconds = round(parse_duration(text).total_seconds())
    except TracesError as error:
        raise NotifyError(f"{variable}: {error}") from None
    if seconds < LEAST_SECONDS:
        raise NotifyError(f"{variable} is {text!r}: Prefect takes no less than {LEAST_SECONDS} s.")
    return seconds


class Plan(NamedTuple):
    """What has to be done to the automations on a server: new ones, others (by id), old ones."""

    create: list[AutomationCore]
    update: dict[UUID, AutomationCore]
    delete: list[Automation]


def plan(client: SyncPrefectClient, block_id: UUID | None) -> Plan:
    """Compare the automations on a server with the file.

    Args:
        client: of the server.
        block_id: of the block that messages go through; with none, none of ours is to be there.

    Raises:
        NotifyError: a variable is wrong.
    """
    there = {
        each.name: each
        for each in client.read_automations()
        # The server does not say which belong to a deployment; those run something.
        if each.name.startswith(PREFIX)
        and all(action.type == "send-notification" for action in each.actions)
    }
    found = Plan([], {}, [])
    for automation in wanted(block_id) if block_id else ():
        old = there.pop(automation.name, None)
        if old is None:
            found.create.append(automation)
        elif _plain(old) != _plain(automation):
            found.update[old.id] = automation.model_copy(update={"enabled": old.enabled})
    found.delete.extend(there.values())
    return found


def put_up(client: SyncPrefectClient, address: str | None) -> list[str]:
    """Bring the automations on a server to what the file says; return a sentence for each change.

    Args:
        client: of the server.
        address: where messages go; without one ours are taken away.

    Raises:
        NotifyError: a variable is wrong.
    """
    block_id = block_of(address).save(BLOCK, overwrite=True, _sync=True) if address else None
    todo = plan(client, block_id)
    for new in todo.create:
        client.create_automation(new)
    for automation_id, changed in todo.update.items():
        client.update_automation(automation_id, changed)
    for old in todo.delete:
        client.delete_automation(old.id)
    return [
        *(f"Put up: {each.name}" for each in todo.create),
        *(f"Renewed: {each.name}" for each in todo.update.values()),
        *(f"Taken away: {each.name}" for each in todo.delete),
    ]


def drift(client: SyncPrefectClient, address: str) -> list[str]:
    """Return the names of what is not on a server as the file says."""
    from prefect.exceptions import ObjectNotFound

    block = block_of(address)
    try:
        kept = client.read_block_document_by_name(BLOCK, block.get_block_type_slug())
    except ObjectNotFound:
        return ["the block that messages go through"]
    create, update, delete = plan(client, kept.id)
    return [each.name for each in (*create, *update.values(), *delete)]


def send_test(address: str) -> None:
    """Send a message that says that it is a test.

    Raises:
        NotifyError: it does not arrive.
    """
    from prefect.blocks.abstract import NotificationError

    block = block_of(address)
    try:
        with block.raise_on_failure():
            block.notify(subject="haas-media: a test", body="`haas check` has sent this message.")
    except (NotificationError, HTTPError) as error:
        raise NotifyError(f"No message arrives at the address in {NOTIFY}: {error!r}") from None


def _plain(automation: Any) -> Any:
    """Return what an automation says, without the ids that the server gives."""
    # Not as JSON, where the names of events, which are a set, are in any order.
    return _without_ids(automation.model_dump(include={"description", "trigger", "actions"}))


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "id"}
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    return value


def main() -> None:
    """Put the automations up on the server of ``PREFECT_API_URL``."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            for sentence in put_up(client, os.environ.get(NOTIFY, "").strip() or None):
                sys.stdout.write(f"{sentence}\n")
    except (NotifyError, ValueError) as error:
        sys.exit(str(error))
    except HTTPError as error:
        sys.exit(f"The Prefect server does not answer: {error}. Correct PREFECT_API_URL.")


if __name__ == "__main__":
    main()
