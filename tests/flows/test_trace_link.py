"""The link from a run to its trace is never worth a failed run.

That every task leaves one, however it ends, is asked wherever a flow is run (conftest.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.flows.conftest import Flows

pytestmark = pytest.mark.e2e


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
    flows.environment["OTEL_TRACES_SAMPLER"] = "always_off"
    ran = flows("person_cleanup")
    assert ran.run.state_name == "Completed"
    assert "trace" not in ran.artifacts
