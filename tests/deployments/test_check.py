"""`haas check` finds each thing that can be wrong, and says it in a line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_tmdb import FakeTmdb
from tests.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.samples import SampleLibrary
    from deployments.stack import Stack
    from tests.deployments.conftest import Command

# To the superuser nothing is closed, unless it lets go of the right to look everywhere.
LOOKING = "-dac_override,-dac_read_search"
LIKE_ANYBODY = ("setpriv", f"--bounding-set={LOOKING}", f"--inh-caps={LOOKING}")
MARKS = {"✓": "right", "·": "note", "✗": "wrong"}


def found(command: Command, **environment: str) -> dict[str, tuple[str, str]]:
    """Return what the check says of each thing: how it is, and the text."""
    shown = command("check", environment=environment)
    assert "Traceback" not in shown.err + shown.out
    lines = {}
    for line in shown.out.splitlines():
        mark, rest = line.strip().split(" ", 1)
        what, text = rest[:12].strip(), rest[12:].strip()
        lines[what] = (MARKS[mark], text)
    wrong = any(how == "wrong" for how, _ in lines.values())
    assert shown.code == (1 if wrong else 0)
    return lines


def libraries(*paths: Path) -> str:
    return json.dumps([{"title": path.name, "kind": "movies", "path": str(path)} for path in paths])


def test_everything_is_right(haas: Command, stack: Stack, samples: SampleLibrary) -> None:
    lines = found(haas, HAAS_LIBRARIES=libraries(samples.films), PREFECT_API_URL=stack.address.api)
    assert {what: how for what, (how, _) in lines.items()} == {
        "settings": "right",
        "library": "right",
        "data": "right",
        "database": "right",
        "ffmpeg": "right",
        "TMDb": "note",
        "spans": "right",
        "Prefect": "right",
        "work pool": "right",
        "deployments": "right",
        "workers": "right",
    }
    assert lines["deployments"][1] == "7 in the work pool"


def test_the_server_of_the_data_directory_is_found(haas: Command, stack: Stack) -> None:
    lines = found(haas, HAAS_DATA_DIR=str(stack.data_dir))
    assert lines["Prefect"][0] == "right"
    assert stack.address.api in lines["Prefect"][1]


def test_settings(haas: Command, tmp_path: Path) -> None:
    (tmp_path / "haas.toml").write_text('data_dirr = "x"')
    assert found(haas)["settings"][0] == "wrong"
    assert "Did you mean data_dir?" in found(haas)["settings"][1]
    (tmp_path / "haas.toml").write_text("")
    assert (
        "HAAS_TMDB_TOKE is not a setting" in haas("check", environment={"HAAS_TMDB_TOKE": "x"}).out
    )


def test_another_settings_file(haas: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[[libraries]]")
    shown = haas("check", "--config", str(other))
    assert shown.code == 1
    assert "libraries[1].title is missing" in shown.out


def test_the_settings_file_is_named_where_it_is(haas: Command, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("")
    lines = found(haas, HOME=str(tmp_path), HAAS_CONFIG="~/other.toml")
    assert lines["settings"] == ("right", str(tmp_path / "other.toml"))


def test_folders(haas: Command, tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("x")
    assert "None is set" in found(haas)["libraries"][1]
    for path, text in [
        (tmp_path / "gone", "does not exist. Mount its disk"),
        (file, "is not a folder"),
        (empty, "is empty. Is its disk mounted?"),
    ]:
        how, said = found(haas, HAAS_LIBRARIES=libraries(path))["library"]
        assert how == "wrong"
        assert text in said


def test_folders_that_are_closed(haas: Command, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    mortal = dataclasses.replace(haas, prefix=LIKE_ANYBODY if os.geteuid() == 0 else ())
    how, said = found(mortal, HAAS_LIBRARIES=libraries(closed))["library"]
    assert (how, "cannot be read" in said) == ("wrong", True)


def test_a_library_that_cannot_be_looked_at(haas: Command, tmp_path: Path) -> None:
    lines = found(haas, HAAS_LIBRARIES=libraries(tmp_path / ("x" * 300) / "films"))
    how, said = lines["library"]
    assert (how, "cannot be looked at: File name too long" in said) == ("wrong", True)
    assert lines["database"][0] == "right"


def test_data_directory(haas: Command) -> None:
    for path, text in [
        ("/dev/null/data", "cannot be written to"),
        (f"/tmp/{'x' * 300}/data", "File name too long"),
    ]:
        how, said = found(haas, HAAS_DATA_DIR=path)["data"]
        assert (how, text in said) == ("wrong", True)


def test_database(haas: Command, tmp_path: Path) -> None:
    assert "the first scan makes it" in found(haas)["database"][1]
    assert not (tmp_path / "data").exists()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    assert found(haas, HAAS_DATABASE_URL=f"sqlite:///{broken}")["database"][0] == "wrong"
    secret = "postgresql://haas:verysecret@127.0.0.1:1/haas"
    how, said = found(haas, HAAS_DATABASE_URL=secret)["database"]
    assert how == "wrong"
    assert "verysecret" not in said


def test_ffmpeg(haas: Command) -> None:
    how, said = found(haas, HAAS_FFMPEG="/nowhere/ffmpeg")["ffmpeg"]
    assert (how, "HAAS_FFMPEG is '/nowhere/ffmpeg'" in said) == ("wrong", True)
    how, said = found(haas, HAAS_FFMPEG="false")["ffmpeg"]
    assert (how, "does not answer as ffmpeg does" in said) == ("wrong", True)


def test_tmdb_is_asked_for_real(haas: Command) -> None:
    with FakeTmdb(token="right") as tmdb:
        right = found(haas, HAAS_TMDB_TOKEN="right", HAAS_TMDB_URL=tmdb.url)
        wrong = found(haas, HAAS_TMDB_TOKEN="wrong", HAAS_TMDB_URL=tmdb.url)
    away = found(haas, HAAS_TMDB_TOKEN="right", HAAS_TMDB_URL=tmdb.url)
    assert right["TMDb"][0] == "right"
    assert wrong["TMDb"][0] == "wrong"
    assert "HAAS_TMDB_TOKEN" in wrong["TMDb"][1]
    assert away["TMDb"][0] == "wrong"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_collector(haas: Command, protocol: Any) -> None:
    with Receiver().start(protocol) as receiver:
        settings = {name: value for name, value in receiver.environment.items() if "_OTLP_" in name}
        endpoint = settings["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert found(haas, **settings)["spans"] == ("right", f"{endpoint} takes spans")
        receiver.set_fault("503")
        assert found(haas, **settings)["spans"][0] == "wrong"
    how, said = found(haas, **settings)["spans"]
    assert how == "wrong"
    assert endpoint in said


def test_telemetry_that_is_off(haas: Command) -> None:
    assert found(haas, OTEL_SDK_DISABLED="true")["spans"][0] == "note"


def test_a_protocol_that_is_unknown(haas: Command) -> None:
    lines = found(
        haas, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL="morse"
    )
    assert "'morse' is unknown" in lines["spans"][1]


def test_no_server(haas: Command) -> None:
    assert found(haas)["Prefect"] == (
        "wrong",
        "No server is set. Start one with `haas up`, or let PREFECT_API_URL lead to one.",
    )
    how, said = found(haas, PREFECT_API_URL=f"http://127.0.0.1:{unused_port()}/api")["Prefect"]
    assert (how, "does not answer" in said) == ("wrong", True)


def test_a_paused_work_pool(haas: Command, stack: Stack) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate

    def pause(paused: bool) -> None:
        with stack.client() as client:
            client.update_work_pool("haas-media", WorkPoolUpdate(is_paused=paused))

    pause(True)
    with contextlib.ExitStack() as after:
        after.callback(pause, False)
        lines = found(haas, PREFECT_API_URL=stack.address.api)
    assert lines["work pool"][0] == "wrong"
    assert "prefect work-pool resume haas-media" in lines["work pool"][1]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
