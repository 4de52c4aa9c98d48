"""What `haas up` hands on to runs, which start in another folder, and what it says of a server."""

from __future__ import annotations

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_CUSTOM_HEADERS, temporary_settings
from rich.console import Console

from deployments.claim import Claim
from deployments.stack import Stack, StackError
from deployments.terminal import Terminal, stop_signals
from deployments.up import configured_server, same_settings, stopping
from haas_media.settings_sources import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from haas_media.settings import Settings

NAMES = (
    *("HAAS_LIBRARIES", "HAAS_ENCODING_ROOTS", "HAAS_FFMPEG", "HAAS_CONFIG", "HAAS_DATA_DIR"),
    *("HAAS_DATABASE_URL", "HAAS_OTEL_DIR"),
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def elsewhere(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    """Read the settings as a run does: in the folder of the flows."""
    monkeypatch.chdir("/")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_relative_paths_of_variables_mean_the_same_place(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    libraries = [{"title": "Films", "kind": "movies", "path": "films"}]
    monkeypatch.setenv("HAAS_LIBRARIES", json.dumps(libraries))
    monkeypatch.setenv("HAAS_ENCODING_ROOTS", '["out"]')
    monkeypatch.setenv("HAAS_FFMPEG", "./ffmpeg")
    monkeypatch.setenv("HAAS_DATABASE_URL", "sqlite:///films.db")
    settings = load_settings()
    read = elsewhere(monkeypatch, same_settings(settings, None))
    assert read.encoding_roots == settings.encoding_roots == (here / "films", here / "out")
    assert read.ffmpeg == settings.ffmpeg == str(here / "ffmpeg")
    assert read.database_url == f"sqlite:///{here}/films.db"


def test_the_file_is_the_same(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    config = here / "haas.toml"
    config.write_text('[[libraries]]\ntitle = "Films"\nkind = "movies"\npath = "films"\n')
    variables = same_settings(load_settings(), Path("haas.toml"))
    assert variables == {"HAAS_CONFIG": str(config)}
    assert elsewhere(monkeypatch, variables).libraries[0].path == here / "films"


def test_without_a_file_runs_read_none_either(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    variables = same_settings(load_settings(), None)
    other = here / "flows"
    other.mkdir()
    (other / "haas.toml").write_text('[[libraries]]\ntitle = "X"\nkind = "tv"\npath = "x"\n')
    elsewhere(monkeypatch, variables)
    monkeypatch.chdir(other)
    assert load_settings().libraries == ()


def test_relative_folders_of_a_stack(here: Path) -> None:
    stack = Stack(Path("data"), environment={"HAAS_OTEL_DIR": "spans"})
    assert stack.data_dir == here / "data"
    assert stack.traces == here / "spans"
    home = Stack(Path("data"), environment={"HAAS_OTEL_DIR": "~/spans "})
    assert home.traces == Path("~/spans").expanduser()
    assert Stack(Path("data"), environment=dict(os.environ)).traces == here / "data" / "telemetry"


class Guarded(BaseHTTPRequestHandler):
    """A Prefect server behind a proxy that lets in who has its header; elsewhere a page."""

    def do_GET(self) -> None:
        api = self.path.startswith("/api")
        self.send_response(401 if api and self.headers["X-Pass"] != "open" else 200)
        self.end_headers()
        self.wfile.write(b"true" if api else b"<html>")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/api", " does not answer."),
        ("{guarded}/api", " answers with 401."),
        ("{guarded}", " is no API of a Prefect server."),
    ],
)
def test_a_server_that_is_set_and_cannot_be_used_is_named(
    guarded: str, url: str, said: str
) -> None:
    shown = StringIO()
    address = url.format(guarded=guarded)
    with temporary_settings({PREFECT_API_URL: address}):
        assert configured_server(Terminal(Console(file=shown, width=200))) is None
    assert f"{address}{said}" in shown.getvalue()
    assert "Another server is started here." in shown.getvalue()


def test_a_server_is_asked_as_prefects_client_asks_it(guarded: str) -> None:
    address = f"{guarded}/api"
    with temporary_settings(
        {PREFECT_API_URL: address, PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Pass": "open"}}
    ):
        assert configured_server(Terminal(Console(file=StringIO()))) == address


def test_a_data_directory_that_cannot_be_made_is_said() -> None:
    with pytest.raises(StackError, match="/dev/null/data cannot be written to: Not a directory"):
        Stack(Path("/dev/null/data"), environment={}).claim()


class Gone(StringIO):
    """A terminal that was closed, or the end of a pipe that nobody reads any more."""

    def write(self, _: str) -> int:
        raise OSError("gone")


def test_a_stack_is_stopped_though_nobody_reads_what_is_said_of_it(here: Path) -> None:
    """As after Ctrl-C in ``haas up | tee up.log``, which ends both."""
    terminal, stack = Terminal(Console(file=Gone())), Stack(here, environment={})
    with pytest.raises(OSError, match="gone"), stopping(stack, terminal, []):
        pass
    Claim(here).release()  # it is free


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
