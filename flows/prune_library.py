"""Pruning: what no scan takes off the record, reported first, removed only when asked."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from __future__ import annotations

from functools import partial

from flows.catalog import catalog_for_task
from flows.forms import field
from flows.reporting import logger, publish
from haas_otel import flow

# It has no tasks, and so leaves no span: a person keeps house with it.


def _run_name() -> str:
    from flows.reporting import parameters

    return "look for what can be pruned" if parameters().get("dry_run", True) else "prune"


@flow(name="prune-library", flow_run_name=_run_name)
def prune_library_flow(
    dry_run: bool = field(
        True, title="Report only", description="Say what would be removed, and remove nothing."
    ),
    gone_for_good: list[str] = field(
        [],
        title="Gone for good",
        description="What the report lists as out of reach, and whose files do not come back: "
        "titles of offline libraries, or where disks were mounted.",
    ),
) -> dict[str, int]:
    """Report what is on record that no scan removes, and remove it when asked to."""
    from haas_media.library.prune import prune
    from haas_media.settings_sources import load_settings

    settings = load_settings()
    with catalog_for_task(settings) as catalog:
        report = prune(
            catalog,
            settings.libraries,
            dry_run=dry_run,
            gone_for_good=gone_for_good,
            on_wait=partial(logger().info, "Waiting: %s. The pruning goes on when that ends."),
        )
    return publish(report, "prune-library")
