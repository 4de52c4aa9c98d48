"""What `haas up` hands on to runs, which start in another folder, and what it says of a server."""

from __future__ import annotations

import json
import os
import signal
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from deployments.claim import Claim
from deployments.stack import Stack, StackError
from deployments.terminal import Terminal, stop_signals
from deployments.up import configured_server, same_settings, stopping
from haas_media.settings_sources import load_settings

if TYPE_CHECKING:
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


def test_a_server_that_is_set_and_does_not_answer_is_named() -> None:
    shown = StringIO()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert configured_server(Terminal(Console(file=shown))) is None
    assert "http://127.0.0.1:1/api does not answer." in shown.getvalue()
    assert "Another server is started here." in shown.getvalue()


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
