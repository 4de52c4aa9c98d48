"""The link from a run to its trace: for every task, however it ended, never worth a failed run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.flows.conftest import Flows

pytestmark = pytest.mark.e2e

TEMPLATE = "http://traces.example/t/{trace_id}?from={trace_id}"


@pytest.mark.parametrize(
    ("module", "parameters", "status"),
    [
        ("metadata_scan", {}, "Completed"),
        ("person_cleanup", {}, "Completed"),
        ("encoding", {"source": "/gone.mkv", "output": "/new.mkv"}, "Failed"),
        ("add_to_library", {"kind": "movie", "tmdb_id": 603}, "Failed"),
        ("remove_from_library", {"kind": "movie", "tmdb_id": 603}, "Failed"),
        ("metadata_refresh", {}, "Failed"),
    ],
)
def test_a_link_leads_to_the_trace(
    flows: Flows, module: str, parameters: dict[str, Any], status: str
) -> None:
    flows.environment["HAAS_TRACE_URL"] = TEMPLATE
    ran = flows(module, **parameters)
    assert ran.task.task_status == status
    link = TEMPLATE.replace("{trace_id}", ran.task.trace_id)
    assert f"({link})" in str(ran.artifacts["trace"].data)


@pytest.mark.parametrize("wrong", ["http://traces.example/t/", "traces.example/{trace_id}"])
def test_a_template_that_is_wrong_costs_the_link_and_not_the_run(flows: Flows, wrong: str) -> None:
    flows.environment["HAAS_TRACE_URL"] = wrong
    ran = flows("person_cleanup")
    assert ran.run.state_name == "Completed"
    assert "trace" not in ran.artifacts
    assert "This run has no link to its trace. HAAS_TRACE_URL: trace_url must " in ran.output


def test_what_else_is_wrong_still_fails_the_task(flows: Flows) -> None:
    flows.environment.update({"HAAS_TRACE_URL": "wrong", "HAAS_LIBRARIES": "not even JSON"})
    ran = flows("person_cleanup")
    assert ran.task.task_status == "Failed"
    assert "HAAS_LIBRARIES is not valid JSON" in ran.task.attributes["exception.message"]


def test_a_trace_that_is_not_sampled_has_no_link(flows: Flows) -> None:
    flows.environment.update({"HAAS_TRACE_URL": TEMPLATE, "OTEL_TRACES_SAMPLER": "always_off"})
    ran = flows("person_cleanup")
    assert ran.run.state_name == "Completed"
    assert "trace" not in ran.artifacts
