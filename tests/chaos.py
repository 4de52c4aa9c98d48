"""Whether tests run in full, as ``make chaos`` has them do, or in short."""

import os

CHAOS = os.environ.get("HAAS_CHAOS") == "1"
