"""The scan: brings the catalog up to date with the library folders."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic.json_schema import SkipJsonSchema

from flows.catalog import catalog_for_task
from flows.early_imports import import_early
from flows.events import continue_trace, page_of
from flows.forms import field
from flows.reporting import (
    ProgressArtifact,
    logger,
    parameters,
    publish,
    run_settings,
    sentence,
)
from flows.retrying import RETRIES
from flows.tmdb import open_tmdb
from haas_media.wording import shown_path
from haas_otel import flow, task

if TYPE_CHECKING:
    from haas_media.progress import Progress
    from haas_media.settings import Settings

_wait_for_imports = import_early("haas_media.catalog.opening", "haas_media.scan")


@task(name="Metadata library scan", **RETRIES)
def metadata_scan(
    library: str | None, refresh_existing: bool, paths: list[str] | None = None
) -> dict[str, int]:
    """Scan one library, or all of them, or only what lies at some paths; return the counts.

    Raises:
        SettingsError: the settings are wrong, or know no such library.
        CatalogError: the catalog cannot be opened.
        ProviderRefused: TMDb refuses the token.
    """
    _wait_for_imports()
    from prefect.runtime import flow_run

    from haas_media.scan import scan

    settings = run_settings()
    if paths is None:
        _say_what_begins(settings, library)
    progress = ProgressArtifact("metadata-scan-progress", sentence(_run_name_of(library, paths)))

    def on_progress(done: "Progress") -> None:
        progress(done)
        if done.phase == "waiting":
            logger().info("Waiting: %s. This scan goes on when that ends.", done.current)

    with catalog_for_task(settings) as catalog, open_tmdb(settings) as provider:
        report = scan(
            settings,
            catalog,
            library=library,
            paths=paths,
            refresh_existing=refresh_existing,
            provider=provider,
            on_progress=on_progress,
            holder=f"run {flow_run.get_name()}",
        )
    for note in report.notes:
        logger().warning("%s", note)
    for offline in report.offline:
        logger().warning(
            "%s is offline: %s. Every record of it is kept.", offline.title, offline.offline_reason
        )
    progress.finish(report.summary())
    return publish(report, "metadata-scan")


def _run_name_of(library: str | None, paths: Sequence[str] | None) -> str:
    if paths is None:
        return f"scan of {library}" if library else "scan of all libraries"
    if len(paths) == 1:
        return f"scan of {shown_path(paths[0].rstrip('/').rpartition('/')[2])}"
    return f"scan of {len(paths)} paths"


def _run_name() -> str:
    return _run_name_of(parameters().get("library"), parameters().get("paths"))


@flow(name="metadata-scan", flow_run_name=_run_name)
def metadata_scan_flow(
    library: str | None = field(
        None,
        title="Library",
        description="The title of one library, as in the settings. Left out: all of them.",
    ),
    refresh_existing: bool = field(
        False,
        title="Refresh existing",
        description="Look known titles up again, not only new ones.",
    ),
    paths: list[str] | None = field(
        None,
        title="Paths",
        description=(
            "Files and folders, absolute, there or not any more: only they are looked into. "
            "Left out: whole libraries."
        ),
    ),
    # Whose trace goes on, and the event's id and day: a trigger hands on parameters, not labels. No
    # form shows them.
    traceparent: SkipJsonSchema[str | None] = None,
    event: SkipJsonSchema[str | None] = None,
) -> dict[str, int]:
    """Bring the catalog up to date with the library folders."""
    continue_trace(traceparent)
    if event:
        logger().info("Asked for by the event %s", page_of(event))
    return metadata_scan(library, refresh_existing, paths)


def _say_what_begins(settings: "Settings", library: str | None) -> None:
    wanted = [settings.library(library)] if library else settings.libraries
    if not wanted:
        logger().warning(
            "There is nothing to scan: the settings name no library. "
            "Add a [[libraries]] table to haas.toml, or set HAAS_LIBRARIES."
        )
    for each in wanted:
        logger().info("Scanning %s (%s): %s", each.title, each.kind, each.path)
