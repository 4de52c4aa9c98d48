"""The library scan: what is on disk, what it is, and what has changed since the last time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_media.scan.report import FileReason, LibraryReport, ScanReport

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.progress import OnProgress
    from haas_media.providers.records import Provider
    from haas_media.settings import Settings

__all__ = ["FileReason", "LibraryReport", "ScanReport", "scan"]


def scan(
    settings: Settings,
    catalog: Catalog,
    *,
    library: str | None = None,
    refresh_existing: bool = False,
    provider: Provider | None = None,
    on_progress: OnProgress | None = None,
) -> ScanReport:
    """Scan the libraries and bring the catalog up to date.

    It can be interrupted or killed at any instant: the next scan carries on from there.

    Args:
        settings: which libraries there are, and where.
        catalog: an open catalog.
        library: the title of the only library to scan; none for all.
        refresh_existing: read titles that are known already from the provider again, and try
            again what could not be matched.
        provider: who is asked for titles; none to work from NFO files and names alone.
        on_progress: called at most ten times a second.

    Raises:
        SettingsError: the library is not known, or a root is not a folder.
        ProviderRefused: the provider refuses the credentials.
    """
    from haas_media.scan.run import Scan

    chosen = (settings.library(library),) if library is not None else settings.libraries
    for each in chosen:
        each.check_root()
    return Scan(settings, catalog, chosen, refresh_existing, provider, on_progress).run()
