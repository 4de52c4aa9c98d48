"""``haas why``: a run in sentences, with its trace as a waterfall below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from haas_media.settings import Settings


def print_why(settings: Settings, name: str) -> None:
    """Print the story of a run.

    Args:
        settings: where the address of a server of ``haas up`` and the local trace store are.
        name: the run's id or name, or the id of a task run.

    Raises:
        RunNotFound: there is no such run.
        ServerError: no Prefect server is set, or it does not answer.
    """
    from deployments.server import connected
    from deployments.traces import find_trace, settle_lost, waterfall
    from flows.run_history import find_run
    from flows.why import explain
    from haas_media.settings_sources import telemetry_dir
    from haas_otel import ids

    with connected(settings.data_dir) as (_, client):
        run = find_run(client, name)
        title, *lines = explain(client, run)
    console = Console(highlight=False)
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    for line in lines:
        console.print(f"  {escape(line)}", soft_wrap=True)
    directory = telemetry_dir(settings.data_dir)
    settle_lost(directory)
    ids.remember_caller(run)
    if spans := find_trace(directory, f"{ids.trace_of(None, run.id):032x}"):
        console.print()
        console.print(waterfall(spans, console.width), soft_wrap=True)
