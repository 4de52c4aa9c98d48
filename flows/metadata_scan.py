"""The scan: brings the catalog up to date with the library folders."""

from typing import TYPE_CHECKING

from flows.catalog import the_catalog
from flows.forms import field
from flows.reporting import (
    ProgressArtifact,
    logger,
    parameters,
    run_settings,
    sentence,
    tell,
)
from flows.retrying import RETRIES
from flows.tmdb import open_tmdb
from haas_otel import flow, task

if TYPE_CHECKING:
    from haas_media.settings import Settings


@task(name="Metadata library scan", **RETRIES)
def metadata_scan(library: str | None, refresh_existing: bool) -> dict[str, int]:
    """Scan one library, or all of them; return the counts of the report.

    Raises:
        SettingsError: the settings are wrong, or know no such library.
        CatalogError: the catalog cannot be opened.
        ProviderRefused: TMDb refuses the token.
    """
    from haas_media.scan import scan

    settings = run_settings()
    _say_what_begins(settings, library)
    progress = ProgressArtifact("metadata-scan-progress", sentence(_run_name_of(library)))
    with the_catalog(settings) as catalog, open_tmdb(settings) as provider:
        report = scan(
            settings,
            catalog,
            library=library,
            refresh_existing=refresh_existing,
            provider=provider,
            on_progress=progress,
        )
    for offline in report.offline:
        logger().warning(
            "%s is offline: %s. Every record of it is kept.", offline.title, offline.offline_reason
        )
    progress.finish(report.summary())
    return tell(report, "metadata-scan", report.summary())


def _run_name_of(library: str | None) -> str:
    return f"scan of {library}" if library else "scan of all libraries"


def _run_name() -> str:
    return _run_name_of(parameters().get("library"))


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
) -> dict[str, int]:
    """Bring the catalog up to date with the library folders."""
    return metadata_scan(library, refresh_existing)


def _say_what_begins(settings: "Settings", library: str | None) -> None:
    wanted = [settings.library(library)] if library else settings.libraries
    if not wanted:
        logger().warning(
            "There is nothing to scan: the settings name no library. "
            "Add a [[libraries]] table to haas.toml, or set HAAS_LIBRARIES."
        )
    for each in wanted:
        logger().info("Scanning %s (%s): %s", each.title, each.kind, each.path)
