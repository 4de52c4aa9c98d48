"""The stack of ``haas up`` with every deployment, and a browser that looks at it.

Pictures of the pages go to the folder ``HAAS_SCREENSHOTS``, or to a temporary one. For pictures
without temporary paths in them ``HAAS_SCREENSHOTS_LIBRARY`` names a folder to make the films in.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployments.defaults import NO_SCHEDULES
from deployments.samples import make_long_film
from deployments.stack import Stack
from haas_media.encoding import find_ffmpeg
from tests.deployments.conftest import clean_environment
from tests.e2e.prefect_processes import servers_go_first
from tests.parts import require
from tests.receiver import Receiver
from tests.waits import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the UI asks hosts far away
]
TRACE_URL = "http://traces.example/trace/{trace_id}"


@dataclass(frozen=True)
class Stage:
    """A library with one film of ten minutes, the stack, and a receiver of its spans."""

    stack: Stack
    receiver: Receiver
    films: Path

    @property
    def film(self) -> Path:
        return self.films / "Charade (1963)" / "Charade.1963.mkv"


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    wanted = os.environ.get("HAAS_SCREENSHOTS_LIBRARY")
    root = Path(wanted) if wanted else tmp_path_factory.mktemp("library")
    films = root / "films"
    films.mkdir(parents=True)
    yield films
    shutil.rmtree(films)


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory, films: Path) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("stack")
    ffmpeg = find_ffmpeg()
    with (
        Receiver().start("grpc") as receiver,
        Stack(
            home / "data",
            port=0,
            environment=clean_environment(home) | NO_SCHEDULES,
            worker_environment={
                **receiver.environment,
                "HAAS_LIBRARIES": json.dumps(
                    [{"title": "Films", "kind": "movies", "path": str(films)}]
                ),
                "HAAS_TRACE_URL": TRACE_URL,
            },
        ) as stack,
    ):
        stage = Stage(stack, receiver, films)
        make_long_film(ffmpeg, stage.film)
        stack.start_server()
        servers_go_first()
        stack.create_work_pool()
        stack.start_worker("media-worker")
        stack.deploy()
        stack.wait_for_workers()
        yield stage


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    require("a browser", found, "apt-get install chromium")
    return str(found)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    # Of a module, not of the session: while it is open, no other test could run an event loop.
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=FLAGS) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    viewport = {"width": 1280, "height": 1000}
    address = stage.stack.address.ui
    context = browser.new_context(base_url=address, viewport=viewport, timezone_id="UTC")
    context.set_default_timeout(PATIENCE * 1000)
    with context:
        yield context.new_page()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("HAAS_SCREENSHOTS")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
