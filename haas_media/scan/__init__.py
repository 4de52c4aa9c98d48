"""The library scan: what is on disk, what it is, and what has changed since the last time."""

from haas_media.scan.scan_report import FileReason, LibraryReport, ScanReport
from haas_media.scan.stages import scan

__all__ = ["FileReason", "LibraryReport", "ScanReport", "scan"]
