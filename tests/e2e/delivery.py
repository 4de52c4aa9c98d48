"""Waiting for spans at the collector."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.e2e.prefect_processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DELIVER = """
from datetime import timedelta
from haas_otel.delivery import deliver_pending
deliver_pending(timedelta(seconds=30))
"""


def wait_until_delivered(
    delivered: Callable[[], Any], environment: Mapping[str, str], *, what: str
) -> Any:
    """Return what was delivered, with the help of one more process if need be.

    A process waits for the collector for 0.6 s at its end. On a busy machine that is too short at
    times, and what it leaves on disk goes out with the next one, if there is a next one.

    Args:
        delivered: returns what has arrived of what is awaited.
        environment: variables of the processes that are to deliver it.
        what: is awaited, for the message.
    """
    with suppress(AssertionError):
        return wait_until(delivered, timeout=10)
    subprocess.run([sys.executable, "-c", _DELIVER], env={**os.environ, **environment}, check=True)
    return wait_until(delivered, timeout=20, what=what)
