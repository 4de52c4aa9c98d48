"""Where spans are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def telemetry_directory() -> Path:
    """Return the folder of spans on disk: ``HAAS_OTEL_DIR``, else ``haas_otel`` in Prefect's home.

    All processes of one Prefect installation on a machine share it. It has to be on a local disk.
    """
    chosen = os.environ.get("HAAS_OTEL_DIR", "").strip()
    if chosen:
        return Path(chosen).expanduser()
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "haas_otel"
