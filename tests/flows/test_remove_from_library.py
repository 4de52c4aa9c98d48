"""What follows a removal: the cleanup of its people, or a line that says who does it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flows import remove_from_library

if TYPE_CHECKING:
    import pytest


def test_a_cleanup_that_cannot_be_queued_fails_no_removal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    monkeypatch.setattr(remove_from_library, "logger", logging.getLogger)
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nowhere):
        remove_from_library.queue_cleanup([5, 6])
    assert "cleanup of 2 people cannot be queued, and the nightly one does its work" in caplog.text
