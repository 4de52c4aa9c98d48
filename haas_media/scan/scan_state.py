"""What flows through the stages of a scan."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from haas_media.scan.compare import Comparison
from haas_media.scan.offline import Reach
from haas_media.scan.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from haas_media.catalog.library_rows import KnownFile, KnownFolder, Registered
    from haas_media.catalog.opening import Catalog
    from haas_media.progress import PhasedProgress
    from haas_media.providers.tmdb import TmdbClient
    from haas_media.scan.scan_report import FileReason
    from haas_media.scan.walk import Scope
    from haas_media.settings import Library, Settings


@dataclass(slots=True)
class LibraryState:
    """One library during a scan: each stage adds what it has found.

    ``last_scanned``: when a scan of all of it had ended, before this one waited for others.
    ``held`` are the ids of files that are not there, and that the next scan decides about.
    """

    library: Library
    row: Registered
    scope: Scope
    last_scanned: dt.datetime | None = None
    on_record: int = 0
    known: Mapping[str, KnownFolder] = field(default_factory=dict)
    reach: Reach = field(init=False)
    walked: Walk = field(default_factory=Walk)
    compared: Comparison = field(default_factory=Comparison)
    gone: list[KnownFile] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[FileReason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reach = Reach(str(self.library.path))


@dataclass(slots=True)
class ScanState:
    """One scan: ``libraries`` are those that it is about, ``notes`` sentences for the report.

    ``begun`` is before it waited for other scans.
    """

    settings: Settings
    catalog: Catalog
    provider: TmdbClient | None
    refresh_existing: bool
    progress: PhasedProgress
    libraries: list[LibraryState] = field(default_factory=list)
    looked_up: int = 0
    notes: list[str] = field(default_factory=list)
    people: int = 0
    begun: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def online(self) -> list[LibraryState]:
        """The libraries whose disk is there."""
        return [each for each in self.libraries if each.reach.offline is None]

    def count(self, each: LibraryState, name: str, number: int = 1) -> None:
        """Count something for a library, and for the progress."""
        each.counts[name] += number
        self.progress.counts[name] += number
