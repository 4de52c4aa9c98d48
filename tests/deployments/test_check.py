"""`haas check` finds each thing that can be wrong, and says it in a line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.engine import make_url

from deployments.check_catalog import catalog_finding
from haas_media.catalog import CatalogError, open_catalog
from tests.databases import new_postgres, postgres  # noqa: F401 - fixtures
from tests.deployments.conftest import Finished, Line, libraries, lines
from tests.fake_tmdb import FakeTmdb
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deployments.samples import SampleLibrary
    from deployments.stack import Stack
    from tests.deployments.conftest import Command
    from tests.receiver import Protocol

# To the superuser nothing is closed, unless it lets go of the right to look everywhere.
LOOKING = "-dac_override,-dac_read_search"
LIKE_ANYBODY = ["setpriv", f"--bounding-set={LOOKING}", f"--inh-caps={LOOKING}"]


def of(what: str, found: list[Line]) -> tuple[str, str]:
    """Return how the one thing of this kind is, and the text."""
    (line,) = (line for line in found if line.what == what)
    return line.how, line.text


def test_everything_is_right(haas: Command, stack: Stack, samples: SampleLibrary) -> None:
    found = haas.check(
        HAAS_LIBRARIES=libraries(films=samples.films), PREFECT_API_URL=stack.address.api
    )
    assert {line.what: line.how for line in found} == {
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
    assert of("deployments", found)[1] == "10 in the work pool"


def test_the_server_of_the_data_directory_is_found(haas: Command, stack: Stack) -> None:
    how, text = of("Prefect", haas.check(HAAS_DATA_DIR=str(stack.data_dir)))
    assert (how, stack.address.api in text) == ("right", True)


def test_nothing_is_set(haas: Command, tmp_path: Path) -> None:
    found = haas.check()
    assert "None is set" in of("libraries", found)[1]
    assert "the first scan makes it" in of("database", found)[1]
    assert not (tmp_path / "data").exists()
    assert of("Prefect", found) == (
        "wrong",
        "No server is set. Start one with `haas up`, or let PREFECT_API_URL lead to one.",
    )


def test_settings(haas: Command, tmp_path: Path) -> None:
    (tmp_path / "haas.toml").write_text('data_dirr = "x"')
    misspelt, unknown = (line for line in haas.check(HAAS_TMDB_TOKE="x") if line.what == "settings")
    assert "HAAS_TMDB_TOKE is not a setting" in misspelt.text
    assert (unknown.how, "Did you mean data_dir?" in unknown.text) == ("wrong", True)

    other = tmp_path / "other.toml"
    other.write_text("[[libraries]]")
    wrong = [line.text for line in haas.check("--config", str(other)) if line.what == "settings"]
    assert any("libraries[1].title is missing" in text for text in wrong)

    other.write_text("")
    found = haas.check(HOME=str(tmp_path), HAAS_CONFIG="~/other.toml")
    assert of("settings", found) == ("right", str(other))


def test_folders(haas: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").write_text("x")
    expected = {
        "gone": "does not exist. Mount its disk",
        "file": "is not a folder",
        "empty": "is empty. Is its disk mounted?",
        "closed": "cannot be read",
        "long": "cannot be looked at: File name too long",
    }
    paths = {name: tmp_path / name for name in expected} | {"long": tmp_path / ("x" * 300)}
    anybody = LIKE_ANYBODY if os.geteuid() == 0 else []
    shown = subprocess.run(
        [*anybody, sys.executable, "-m", "deployments.cli", "check"],
        env=haas.environment | {"HAAS_LIBRARIES": libraries(**paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = lines(Finished(shown.returncode, shown.stdout, shown.stderr))
    said = [line for line in found if line.what == "library"]
    assert {line.how for line in said} == {"wrong"}
    for line, (name, text) in zip(said, expected.items(), strict=True):
        assert line.text.startswith(name)
        assert text in line.text


def test_data_database_and_ffmpeg(haas: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    for data, text, database, ffmpeg, why in (
        (
            "/dev/null/data",
            "cannot be written to",
            f"sqlite:///{broken}",
            "/nowhere/ffmpeg",
            "HAAS_FFMPEG is '/nowhere/ffmpeg'",
        ),
        (
            f"/tmp/{'x' * 300}/data",
            "File name too long",
            "postgresql://haas:verysecret@127.0.0.1:1/haas",
            "false",
            "does not answer as ffmpeg does",
        ),
    ):
        given = {"HAAS_DATA_DIR": data, "HAAS_DATABASE_URL": database, "HAAS_FFMPEG": ffmpeg}
        found = haas.check(**given)
        assert [of(what, found)[0] for what in ("data", "database", "ffmpeg")] == ["wrong"] * 3
        assert text in of("data", found)[1]
        assert why in of("ffmpeg", found)[1]
        assert "verysecret" not in str(found)
    how, text = of("spans", haas.check(HAAS_OTEL_DIR="/dev/null/spans"))
    assert (how, "/dev/null/spans cannot be written to" in text) == ("wrong", True)


def test_a_postgresql_that_may_not_be_written_is_wrong(
    new_postgres: Callable[[], str],  # noqa: F811
) -> None:
    """As a user who did not make the database finds it, and as a standby is."""
    empty, filled = new_postgres(), new_postgres()
    open_catalog(filled).close()
    assert catalog_finding(empty).how == catalog_finding(filled).how == "right"
    with psycopg.connect(empty) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        connection.execute("CREATE ROLE guest LOGIN")
    guest = make_url(empty).set(username="guest").render_as_string(hide_password=False)
    with pytest.raises(CatalogError, match="permission denied for schema public"):
        catalog_finding(guest)
    with pytest.raises(CatalogError, match="in a read-only transaction"):
        catalog_finding(f"{filled}&options=-c%20default_transaction_read_only%3Don")


def test_tmdb_is_asked_for_real(haas: Command) -> None:
    with FakeTmdb(token="right") as tmdb:
        right = haas.check(HAAS_TMDB_TOKEN="right", HAAS_TMDB_URL=tmdb.url)
        wrong = haas.check(HAAS_TMDB_TOKEN="wrong", HAAS_TMDB_URL=tmdb.url)
    away = haas.check(HAAS_TMDB_TOKEN="right", HAAS_TMDB_URL=tmdb.url)
    assert [of("TMDb", each)[0] for each in (right, wrong, away)] == ["right", "wrong", "wrong"]
    assert "HAAS_TMDB_TOKEN" in of("TMDb", wrong)[1]


def test_webhooks(haas: Command, tmp_path: Path) -> None:
    """A blank password is none."""
    (tmp_path / "haas.toml").write_text('[watch]\npassword = ""\n')
    for address, how, text in (
        ("127.0.0.1:8770", "right", "taken at 127.0.0.1:8770"),
        ("0.0.0.0:8770", "wrong", "set HAAS_WATCH_PASSWORD"),
        ("here", "wrong", "give one such as 127.0.0.1:8770"),
    ):
        found = of("webhooks", haas.check(HAAS_WATCH_LISTEN=address))
        assert (found[0], text in found[1]) == (how, True)


def test_collector(haas: Command) -> None:
    def ask(protocol: Protocol) -> tuple[str, list[tuple[str, str]]]:
        with Receiver().start(protocol) as receiver:
            told = {name: value for name, value in receiver.environment.items() if "OTLP" in name}
            takes = of("spans", haas.check(**told))
            receiver.set_fault("503")
            refuses = of("spans", haas.check(**told))
        return receiver.endpoint, [takes, refuses, of("spans", haas.check(**told))]

    with ThreadPoolExecutor() as both:
        for endpoint, (takes, refuses, away) in both.map(ask, ("grpc", "http/protobuf")):
            assert takes == ("right", f"{endpoint} takes spans")
            assert [refuses[0], away[0]] == ["wrong", "wrong"]
            assert endpoint in away[1]


def test_no_telemetry_and_no_server(haas: Command) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused = f"http://127.0.0.1:{probe.getsockname()[1]}"
    found = haas.check(OTEL_SDK_DISABLED="true", PREFECT_API_URL=f"{unused}/api")
    assert of("spans", found)[0] == "note"
    how, text = of("Prefect", found)
    assert (how, "does not answer" in text) == ("wrong", True)
    morse = {"OTEL_EXPORTER_OTLP_ENDPOINT": unused, "OTEL_EXPORTER_OTLP_PROTOCOL": "morse"}
    assert "Unsupported OTLP protocol 'morse'" in of("spans", haas.check(**morse))[1]


def test_a_paused_work_pool(haas: Command, stack: Stack) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate

    with stack.client() as client:
        client.update_work_pool("haas-media", WorkPoolUpdate(is_paused=True))
        try:
            how, text = of("work pool", haas.check(PREFECT_API_URL=stack.address.api))
        finally:
            client.update_work_pool("haas-media", WorkPoolUpdate(is_paused=False))
    assert (how, "prefect work-pool resume haas-media" in text) == ("wrong", True)
