"""Parts of the tests that a machine may lack."""

from __future__ import annotations

import os

import pytest


def require(part: str, present: object, get: str) -> None:
    """Skip the test where a part is missing; in CI, where everything has to be, fail it.

    Args:
        part: what the test needs, such as ``redis-server``.
        present: true if it is there.
        get: how to get it, in a line.
    """
    if not present:
        reason = f"{part} is missing: {get}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
