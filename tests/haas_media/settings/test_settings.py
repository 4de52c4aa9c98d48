"""Settings from file and environment, and what is said of wrong ones."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haas_media.settings import Library, Settings, SettingsError
from haas_media.settings_sources import load_settings, misspelt_variables

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str], Path]

EXAMPLE = """
data_dir = "state"
trace_url = "http://localhost:16686/trace/{trace_id}"

[[libraries]]
title = "Films"
kind = "movies"
path = "media/films"

[[libraries]]
title = "Shows"
kind = "tv"
path = "~/shows"

[tmdb]
token = "secret-token"
requests_per_second = 5

[scan]
probe = false

[encoding]
roots = ["out", "/tmp/out"]
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hold what the machine itself has set away from the tests."""
    for name in list(os.environ):
        if name.startswith("HAAS_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "etc" / "haas.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def error(path: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    return str(caught.value)


def test_a_file(write: Write) -> None:
    path = write(EXAMPLE)
    settings = load_settings(path)
    assert settings.libraries == (
        Library(title="Films", kind="movies", path=path.parent / "media/films"),
        Library(title="Shows", kind="tv", path=Path.home() / "shows"),
    )
    assert settings.data_dir == path.parent / "state"
    assert settings.database_url == f"sqlite:///{path.parent}/state/catalog.sqlite3"
    assert settings.tmdb.token is not None
    assert settings.tmdb.token.get_secret_value() == "secret-token"
    assert (settings.tmdb.requests_per_second, settings.tmdb.max_concurrent) == (5, 4)
    assert settings.scan.probe is False
    assert settings.encoding_roots == (
        path.parent / "media/films",
        Path.home() / "shows",
        path.parent / "out",
        Path("/tmp/out"),
    )


@pytest.mark.parametrize("scheme", ["sqlite:///", "sqlite+pysqlite:///"])
def test_the_file_of_a_catalog_does_not_depend_on_where_a_worker_starts(
    write: Write, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    path = write(f'database_url = "{scheme}db/films.db?timeout=5"')
    assert load_settings(path).database_url == f"{scheme}{path.parent}/db/films.db?timeout=5"
    path = write(f'database_url = "{scheme}~/films.db"')
    assert load_settings(path).database_url == f"{scheme}{Path.home()}/films.db"
    for given, meant in {
        "films.db": f"{Path.cwd()}/films.db",
        "/var/films.db": "/var/films.db",
        "file:films.db?uri=true": "file:films.db?uri=true",
    }.items():
        monkeypatch.setenv("HAAS_DATABASE_URL", f"{scheme}{given}")
        assert load_settings(path).database_url == f"{scheme}{meant}"


def test_nothing_set_is_fine() -> None:
    settings = load_settings()
    assert settings.libraries == ()
    assert settings.data_dir == Path.home() / ".haas"
    assert settings.database_url == f"sqlite:///{Path.home()}/.haas/catalog.sqlite3"
    assert settings.tmdb.token is None
    assert settings.tmdb.url == "https://api.themoviedb.org/3"
    assert (settings.tmdb.requests_per_second, settings.tmdb.max_concurrent) == (20, 4)


def test_haas_toml_in_the_working_directory_is_read(write: Write) -> None:
    write(EXAMPLE).rename("haas.toml")
    assert load_settings().data_dir == Path.cwd() / "state"


def test_haas_config_names_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("haas.toml").write_text('data_dir = "wrong"')
    monkeypatch.setenv("HAAS_CONFIG", str(write(EXAMPLE)))
    assert load_settings().data_dir.name == "state"


def test_every_key_has_a_variable_that_wins_over_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "HAAS_LIBRARIES": '[{"title": "Other", "kind": "tv", "path": "relative"}]',
        "HAAS_DATA_DIR": "/var/haas",
        "HAAS_DATABASE_URL": "postgresql://haas@db/haas",
        "HAAS_TMDB_TOKEN": " from the environment ",
        "HAAS_TMDB_URL": " http://127.0.0.1:8088/3/ ",
        "HAAS_TMDB_LANGUAGE": "de-DE",
        "HAAS_TMDB_REQUESTS_PER_SECOND": "2.5",
        "HAAS_TMDB_MAX_CONCURRENT": "2",
        "HAAS_TMDB_TIMEOUT_SECONDS": "9",
        "HAAS_SCAN_PROBE": "true",
        "HAAS_FFMPEG": "~/bin/ffmpeg",
        "HAAS_TRACE_URL": "https://grafana/{trace_id}",
        "HAAS_ENCODING_ROOTS": '["/out"]',
        "HAAS_WATCH_LISTEN": "127.0.0.1:8770",
        "HAAS_WATCH_PASSWORD": "only for webhooks",
        "HAAS_WATCH_PATH_MAPPINGS": '{"/media": "/srv/media"}',
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(write(EXAMPLE))
    assert settings.model_dump(exclude={"tmdb": {"token"}, "watch": {"password"}}) == {
        "libraries": ({"title": "Other", "kind": "tv", "path": Path.cwd() / "relative"},),
        "data_dir": Path("/var/haas"),
        "database_url": "postgresql://haas@db/haas",
        "tmdb": {
            "url": "http://127.0.0.1:8088/3",
            "language": "de-DE",
            "requests_per_second": 2.5,
            "max_concurrent": 2,
            "timeout_seconds": 9,
        },
        "scan": {"probe": True},
        "ffmpeg": str(Path.home() / "bin/ffmpeg"),
        "trace_url": "https://grafana/{trace_id}",
        "encoding": {"roots": (Path("/out"),)},
        "watch": {"listen": "127.0.0.1:8770", "path_mappings": {"/media": Path("/srv/media")}},
    }
    assert settings.watch.password is not None
    assert settings.tmdb.token is not None
    assert settings.tmdb.token.get_secret_value() == "from the environment"


@pytest.mark.parametrize("ending", ["", "/", "/3", "/3/"])
def test_the_address_of_tmdb_may_have_its_version_or_not(write: Write, ending: str) -> None:
    settings = load_settings(write(f"[tmdb]\nurl = 'http://proxy:8080/tmdb{ending}'"))
    assert settings.tmdb.url == "http://proxy:8080/tmdb/3"


def test_a_blank_variable_counts_as_not_set(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_TMDB_TOKEN", "  ")
    monkeypatch.setenv("HAAS_TMDB_MAX_CONCURRENT", "2")
    monkeypatch.setenv("HAAS_DATA_DIR", "")
    settings = load_settings(write(EXAMPLE))
    assert (settings.tmdb.max_concurrent, settings.tmdb.requests_per_second) == (2, 5)
    assert settings.data_dir.name == "state"
    assert settings.tmdb.token is not None


@pytest.mark.parametrize("around", ["{} ", " {}\r", '"{}"', "'{}'"])
def test_what_files_of_variables_leave_around_a_value_is_none_of_it(
    write: Write, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("HAAS_CONFIG", around.format(write(EXAMPLE)))
    monkeypatch.setenv("HAAS_DATA_DIR", around.format("/srv/haas"))
    monkeypatch.setenv("HAAS_DATABASE_URL", around.format("postgresql://haas@db/catalog"))
    monkeypatch.setenv("HAAS_SCAN_PROBE", around.format("true"))
    settings = load_settings()
    assert settings.data_dir == Path("/srv/haas")
    assert settings.database_url == "postgresql://haas@db/catalog"
    assert settings.scan.probe
    assert settings.libraries


def test_a_blank_secret_is_none(write: Write) -> None:
    settings = load_settings(write('[tmdb]\ntoken = " "\n[watch]\npassword = ""'))
    assert (settings.tmdb.token, settings.watch.password) == (None, None)


WRONG = [
    ("data_dri = 'x'", r"data_dri is not a setting. Did you mean data_dir\?"),
    ("[tmdb]\ntokn = 'x'", r"tmdb.tokn is not a setting. Did you mean tmdb.token\?"),
    ("colour = 'x'", "colour is not a setting. Known here: libraries, data_dir"),
    (
        "[[libraries]]\ntitle='A'\nkind='tv'\npath='x'\nfolder='y'",
        r"libraries\[1\].folder is not a setting. Known here: title, kind, path",
    ),
    ("[[libraries]]\ntitle='A'\nkind='tv'", r"libraries\[1\].path is missing. Add it."),
    (
        "[[libraries]]\ntitle='A'\nkind='films'\npath='x'",
        r"libraries\[1\].kind must be 'movies' or 'tv'.",
    ),
    (
        "[[libraries]]\ntitle=' '\nkind='tv'\npath='x'",
        r"libraries\[1\].title must not be blank.",
    ),
    ("[libraries]\ntitle='A'", r"libraries must be a list of tables. .*\[\[libraries\]\]"),
    (
        "[[libraries]]\ntitle='A'\nkind='tv'\npath='x'\n"
        "[[libraries]]\ntitle='A'\nkind='tv'\npath='y'",
        "libraries must each have a title of their own; twice: 'A'.",
    ),
    (
        "[[libraries]]\ntitle='A'\nkind='tv'\npath='x'\n"
        "[[libraries]]\ntitle='B'\nkind='tv'\npath='./x/'",
        "libraries must each have a path of their own; twice:",
    ),
    ("data_dir = 5", "data_dir must be a path, in quotes."),
    ("data_dir = ''", "data_dir must not be blank."),
    ("[[libraries]]\ntitle='A'\nkind='tv'\npath=' '", r"libraries\[1\].path must not be blank."),
    ("[encoding]\nroots = ['']", r"encoding.roots\[1\] must not be blank."),
    ("[encoding]\nroots = '/out'", "encoding.roots must be a list, such as"),
    ("data_dir = '~not-here/x'", "data_dir begins with a home folder that .*: ~not-here/x."),
    ("ffmpeg = '~not-here/ffmpeg'", "ffmpeg begins with a home folder that is not known"),
    ("[encoding]\nroots = ['~not-here']", r"encoding.roots\[1\] begins with a home folder"),
    (
        "[[libraries]]\ntitle='A'\nkind='tv'\npath=\"x\\u0000\"",
        r"libraries\[1\].path holds a NUL character, which no path does.",
    ),
    ("tmdb = 5", "tmdb must be a table."),
    ("ffmpeg = 5", "ffmpeg must be text, in quotes."),
    ("[scan]\nprobe = 'perhaps'", "scan.probe must be true or false."),
    ("[tmdb]\nlanguage = 'de_DE'", "tmdb.language must be a language such as en-US or de."),
    ("[tmdb]\nrequests_per_second = 0", "tmdb.requests_per_second must be greater than 0."),
    ("[tmdb]\nmax_concurrent = 'many'", "tmdb.max_concurrent must be a whole number."),
    ("[tmdb]\nurl = 'api.themoviedb.org'", "tmdb.url must be an address that begins with http"),
    ("[tmdb]\nurl = 'http://tmdb:none/3'", "tmdb.url must be an address that begins with http"),
    ("[tmdb]\nurl = 'http://tmdb:99999'", "tmdb.url must be an address that begins with http"),
    ("[tmdb]\nurl = 'http://[::1/3'", "tmdb.url must be an address that begins with http"),
    ("[tmdb]\nurl = 'http://user:secret@x/3'", "tmdb.url must not hold a user name, password or"),
    ("[tmdb]\nurl = 'http://x/?a=1'", "tmdb.url must not hold a user name, password or query."),
    ("trace_url = 'http://x/y'", r"trace_url must hold {trace_id} where the trace's id goes."),
    ("a = \n", r"not valid TOML: Invalid value \(at line 1, column 5\). Mend that line."),
    ("[tmdb]\n[tmdb]", r"not valid TOML: .*line 2"),
    ("libraries = " + "[" * 5_000, r"not valid TOML: maximum recursion depth exceeded"),
    ("a = " + "9" * 5_000, r"not valid TOML: Exceeds the limit"),
]


def test_what_is_wrong_is_said_in_a_sentence(write: Write) -> None:
    said = [(says, str(write(text)), error(write(text))) for text, says in WRONG]
    assert [
        (says, message)
        for says, path, message in said
        if not (message.startswith(path) and re.search(says, message)) or "secret" in message
    ] == []


def test_all_that_is_wrong_is_said_at_once(write: Write) -> None:
    message = error(write("data_dri = 'x'\n[tmdb]\ntokn = 'y'"))
    assert len(message.splitlines()) == 2


def test_what_is_wrong_in_the_environment_names_the_variable(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAAS_TMDB_REQUESTS_PER_SECOND", "fast")
    message = error(write(EXAMPLE))
    assert message.startswith("HAAS_TMDB_REQUESTS_PER_SECOND: tmdb.requests_per_second must be")


def test_libraries_in_the_environment_are_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, says in {
        "[{": "HAAS_LIBRARIES is not valid JSON",
        '{"title": "A"}': "HAAS_LIBRARIES must be a JSON list",
        '["/films"]': "HAAS_LIBRARIES: libraries[1] must be",
        '[{"title": "A", "kind": "tv"}]': "HAAS_LIBRARIES: libraries[1].path is missing.",
    }.items():
        monkeypatch.setenv("HAAS_LIBRARIES", value)
        assert says in error()


def test_a_list_that_is_nested_too_deeply_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_LIBRARIES", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(SettingsError, match="HAAS_LIBRARIES is nested too deeply"):
        load_settings()


def test_a_file_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_CONFIG", str(tmp_path / "no.toml"))
    assert "no.toml does not exist. Make it, or let HAAS_CONFIG name the right one." in error()


def test_a_file_of_somebody_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_CONFIG", "~not-here/haas.toml")
    assert (
        error()
        == "HAAS_CONFIG begins with a home folder that is not known here: ~not-here/haas.toml."
    )


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in error(tmp_path)
    (tmp_path / "x.toml").write_bytes(b'data_dir = "\xff"')
    assert "not UTF-8" in error(tmp_path / "x.toml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'\xef\xbb\xbfdata_dir = "x"')
    assert load_settings(tmp_path / "x.toml").data_dir == tmp_path / "x"


def test_secrets_are_not_shown(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_DATABASE_URL", "postgresql://haas:pa55word@db/haas")
    settings = load_settings(write(EXAMPLE))
    for shown in (repr(settings), str(settings), repr(settings.tmdb), f"{settings.tmdb.token}"):
        assert "secret-token" not in shown
        assert "pa55word" not in shown
    monkeypatch.setenv("HAAS_TMDB_MAX_CONCURRENT", "x")
    message = error(write('[tmdb]\ntoken = ["secret-token"]'))
    assert "secret-token" not in message


def test_a_library_is_found_by_its_title(write: Write) -> None:
    settings = load_settings(write(EXAMPLE))
    assert settings.library("Shows").kind == "tv"
    with pytest.raises(SettingsError) as caught:
        settings.library("Series")
    assert str(caught.value) == (
        "There is no library 'Series' in the settings. Known: 'Films', 'Shows'."
    )
    with pytest.raises(SettingsError, match=r"None is set: add a \[\[libraries\]\] table"):
        Settings().library("Films")


def test_a_root_whose_disk_stops_answering_meanwhile_is_no_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(write(EXAMPLE))
    settings.libraries[0].path.mkdir(parents=True)
    looks, real = [], os.stat

    def stale(path: str | Path) -> os.stat_result:
        looks.append(path)
        if len(looks) > 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        settings.libraries[0].check_root()


def test_misspelt_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_TMDB_TOKN", "x")
    monkeypatch.setenv("HAAS_SOMETHING_OF_OTHERS", "x")
    monkeypatch.setenv("HAAS_DATA_DIR", "/x")
    assert misspelt_variables() == (
        "HAAS_TMDB_TOKN is not a setting; did you mean HAAS_TMDB_TOKEN?",
    )
