"""Who is told: addresses that messages can go to, and times that are times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.events.schemas.automations import Automation

from deployments.automations import NotifyError, block_of, plan, wanted

ADDRESSES = {
    "https://hooks.slack.com/services/T0/B0/x": "slack-webhook",
    "https://prod-1.westeurope.logic.azure.com:443/workflows/ab/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=x": "ms-teams-webhook",
    "https://discord.com/api/webhooks/123/abc": "discord-webhook",
    f"https://chat.example/hooks/{'a1' * 13}": "mattermost-webhook",
    "http://127.0.0.1:8080/hook": "custom-webhook",
}


def test_an_address_has_the_block_of_its_service() -> None:
    assert {each: block_of(each).get_block_type_slug() for each in ADDRESSES} == ADDRESSES


@pytest.mark.parametrize("address", ["mailto:me@example.com", "slack", "https://", "tgram://a/b"])
def test_any_other_is_refused_in_words(address: str) -> None:
    with pytest.raises(NotifyError, match="HAAS_NOTIFY is no address that messages can go to"):
        block_of(address)


def test_a_workflow_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(NotifyError, match="HAAS_NOTIFY: Invalid Microsoft Teams Workflow URL"):
        block_of("https://prod-1.westeurope.logic.azure.com/elsewhere")


def test_times_are_those_of_the_variables() -> None:
    _, overdue, long, gone = wanted(uuid4(), {"HAAS_ENCODING_LONG": "90m"})
    times = [each.trigger.within.total_seconds() for each in (overdue, long, gone)]  # type: ignore[union-attr]
    assert times == [86400, 5400, 180]
    assert "more than 90m" in str(long.actions[0])


@pytest.mark.parametrize("text", ["soon", "0h", "6", "-1h", "9s"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(NotifyError, match=f"HAAS_SCAN_OVERDUE.*{text!r}"):
        wanted(uuid4(), {"HAAS_SCAN_OVERDUE": text})


def test_what_is_there_is_alike_in_whatever_order_its_events_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block, names = uuid4(), [f"event.{number}" for number in range(200)]
    ours = wanted(block)

    def expecting(order: list[str]) -> list[Any]:
        return [
            each.model_copy(
                update={"trigger": each.trigger.model_copy(update={"expect": set(order)})}
            )
            for each in ours
        ]

    there = [
        Automation.model_construct(**dict(each), id=uuid4()) for each in expecting(names[::-1])
    ]
    monkeypatch.setattr("deployments.automations.wanted", lambda _: expecting(names))
    client: Any = SimpleNamespace(read_automations=lambda: there)
    assert plan(client, block) == ([], {}, [])
    there[0] = there[0].model_copy(update={"description": "another"})
    assert list(plan(client, block).update) == [there[0].id]
