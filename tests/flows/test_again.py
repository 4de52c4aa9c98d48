"""What the system cut off runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.states import Cancelled, Crashed

from flows.again import DIED, TAG, run_again

if TYPE_CHECKING:
    from tests.e2e.api import Api


def test_what_its_deployment_refuses_by_now_holds_nothing_else_up(server: Api) -> None:
    """Nor does what a person was cancelling when it died run again."""
    client = server.client
    flow_id = client.create_flow_from_name("cut off")

    def deploy(name: str, **schema: Any) -> Any:
        given: Any = {"name": name, "tags": [TAG], "parameter_openapi_schema": schema}
        return client.create_deployment(flow_id, enforce_parameter_schema=True, **given)

    for name in ("as it was", "changed since"):
        run = server.run(deploy(name, properties={"library": {"type": "string"}}))
        client.set_flow_run_state(run, Crashed(message=DIED), force=True)
    person = server.run(deploy("cancelled", properties={}))
    client.set_flow_run_state(person, Cancelled(message=DIED), force=True)
    deploy("changed since", properties={"path": {"type": "string"}}, required=["path"])

    (again,) = run_again(client)
    assert again.deployment_id == client.read_deployment_by_name("cut off/as it was").id
    assert run_again(client) == []
    (line,) = [each.message for each in client.read_logs() if each.flow_run_id == run]
    assert line.startswith("The system cut this run off, and its deployment refuses it now: ")
