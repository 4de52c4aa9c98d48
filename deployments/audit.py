"""``haas audit``: whether each task run has its span in a backend."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from deployments.traces import print_plain

if TYPE_CHECKING:
    from datetime import timedelta

    from haas_media.settings import Settings


def run_audit(settings: Settings, backend: str, since: timedelta, *, repair: bool) -> bool:
    """Print what an audit finds, and return whether all is right.

    Raises:
        ServerError: there is no Prefect server to ask.
        BackendError: there is no such backend, or it cannot be asked.
    """
    from deployments.server import connected
    from flows import backends
    from flows.audit import audit
    from haas_media.settings_sources import telemetry_dir

    os.environ["HAAS_OTEL_DIR"] = str(telemetry_dir(settings.data_dir))
    asked = backends.backend(backend)
    with connected(settings.data_dir):
        found = audit(asked, since, repair=repair)
    print_plain(found.summary())
    for row in found.table():
        what = f": {row['what']}" if row["what"] else ""
        print_plain(f"  {row['result']:<9}  {row['trace id']}  {row['span']}{what}")
    if found.found["missing"] and not repair and backend != "store":
        sys.stderr.write("--repair sends again what is missing there and still kept here.\n")
    return found.is_right
