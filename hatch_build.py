"""No wheel of the application: it has packages that are called `flows` and `deployments`."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CheckoutOnly(BuildHookInterface):  # type: ignore[type-arg]
    """Lets the application be installed from its checkout alone, as an editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatch's
        """Refuse anything but an editable."""
        if version != "editable":
            raise RuntimeError(
                "Haas Media runs from a checkout (make, or pip install -e ./haas_otel -e .) or"
                " from its image. Its spans in another project are haas-otel:"
                " pip install ./haas_otel"
            )
