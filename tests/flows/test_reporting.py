"""The progress bar: at most once a second, never backwards, never worth a failed task."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from flows.reporting import ProgressArtifact, publish
from haas_media.library.cleanup import CleanupReport
from haas_media.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.api import Api


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(server: Api, key: str) -> tuple[float, str]:
    [latest] = [each for each in server.client.read_artifacts() if each.key == key]
    return float(str(latest.data)), latest.description or ""


@contextlib.contextmanager
def api_of(server: Api) -> Iterator[None]:
    """Let flows of this process talk to the server; their logs would outlive it."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    api_url = f"{server.ui_url}/api"
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_LOGGING_TO_API_ENABLED: False}):
        yield


@pytest.mark.e2e
def test_the_bar(server: Api) -> None:
    from prefect import flow

    key = "the-bar"

    @flow
    def moves_the_bar() -> None:
        clock = Clock()
        bar = ProgressArtifact(key, "The bar", clock)
        bar(Progress(0.5, "#1 ~a~.mkv", {"found": 3}, "files"))
        assert shown(server, key) == (50, "The bar\n\nfiles\n\n\\#1 \\~a\\~.mkv\n\nfound 3")
        clock.now += 0.9
        bar(Progress(0.8))
        assert shown(server, key)[0] == 50  # less than a second later
        clock.now += 0.1
        bar(Progress(0.3, "b.mkv"))
        assert shown(server, key) == (50, "The bar\n\nb.mkv")  # never backwards
        clock.now += 1.0
        bar(Progress(1.7))
        assert shown(server, key)[0] == 100  # never beyond
        bar.finish("Done: <b>.")
        assert shown(server, key) == (100, "Done: \\<b\\>.")

    with api_of(server):
        moves_the_bar()


@pytest.mark.e2e
def test_a_bar_that_cannot_be_drawn_is_said_once(
    server: Api, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import flow

    @flow
    def goes_on() -> str:
        clock = Clock()
        bar = ProgressArtifact("Not A Key!", "The bar", clock)
        for _ in range(3):
            bar(Progress(0.5))
            clock.now += 2
        return "done"

    with api_of(server):
        assert goes_on() == "done"
    said = [each for each in caplog.messages if "The progress bar cannot be updated" in each]
    assert len(said) == 1


@pytest.mark.e2e
def test_a_report_that_cannot_be_kept_does_not_fail_what_is_done(
    server: Api, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import flow

    @flow
    def ends() -> dict[str, int]:
        return publish(CleanupReport(checked=3, deleted=2), "Not A Key!")

    with api_of(server):
        assert ends() == {"checked": 3, "deleted": 2, "kept": 1}
    (said,) = (each for each in caplog.messages if "The report cannot be kept" in each)
    assert "Not A Key!" in said or "key" in said
