"""The command line as its users meet it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.catalog import open_catalog
from haas_media.scan import scan
from haas_media.settings import Library, ScanSettings, Settings
from haas_media.settings_sources import load_settings
from tests.deployments.conftest import ROOT, settings_of

if TYPE_CHECKING:
    from deployments.samples import SampleLibrary
    from tests.deployments.conftest import Command

COMMANDS = ["up", "demo", "names", "library", "traces", "why", "audit", "check"]


def settings_for(folder: Path) -> Settings:
    """Return settings with the folder's films, and with its data where `haas` looks."""
    films = Library(title="Films", kind="movies", path=folder / "films")
    data = folder / "data"
    return Settings(libraries=(films,), data_dir=data, scan=ScanSettings(probe=False))


def scanned(settings: Settings) -> None:
    with open_catalog(settings.database_url) as catalog:
        scan(settings, catalog)


def test_every_command_explains_itself(haas: Command) -> None:
    shown = haas("--help")
    assert shown.code == 0
    for command in COMMANDS:
        assert f"│ {command}" in shown.out
        explained = haas(command, "--help")
        assert (explained.code, explained.err) == (0, "")
        assert len(explained.out) > 200


def test_the_command_line_loads_nothing_heavy() -> None:
    script = (
        "import sys, deployments.cli\n"
        "heavy = {'prefect', 'opentelemetry', 'sqlalchemy', 'av', 'guessit', 'pydantic', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_prefect_does_not_ask_for_usage_data(haas: Command) -> None:
    """As it does once, on a terminal, outside of CI."""
    reading, terminal = pty.openpty()
    outside = {name: value for name, value in haas.environment.items() if name != "CI"}
    with os.fdopen(reading, "rb"), os.fdopen(terminal, "wb") as shown:
        subprocess.run(
            [sys.executable, "-m", "deployments.cli", "check"],
            stdout=subprocess.DEVNULL,
            stderr=shown,
            cwd=haas.cwd,
            env=outside,
            check=False,
        )
    assert not (Path(haas.environment["PREFECT_HOME"]) / ".sdk_telemetry").exists()


def test_a_wrong_option_is_refused(haas: Command) -> None:
    for words, says in {
        ("names", "--kind", "opera"): "movies",
        ("up", "--port", "70000"): "Must be <= 65535",
        ("demo", "--port", "-1"): "Must be >= 0",
        ("worker", "--drain", "-5"): "Must be >= 0",
        ("worker", "--limit", "0"): "Must be >= 1",
        ("traces", "--limit", "9" * 20): "Must be < ",
    }.items():
        refused = haas(*words)
        assert refused.code != 0
        assert says in refused.out + refused.err
        assert "Traceback" not in refused.err


def test_names_as_json_lines(haas: Command) -> None:
    paths = ["Heat (1995)/Heat.mkv", "8f3a9c2e71d04b55.mkv", "Stalker (1979).mkv"]
    shown = haas("names", "--kind", "movies", "--json", stdin="\n\n".join(paths).encode())
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["path"] for line in lines] == paths
    assert lines[0] == {
        "path": "Heat (1995)/Heat.mkv",
        "title": "Heat",
        "year": 1995,
        "country": None,
        "season": None,
        "episodes": [],
        "date": None,
        "absolute": [],
        "ids": {},
        "extra": None,
        "edition": None,
        "version": None,
        "part": None,
    }
    assert set(lines[1]) == {"path", "reason"}
    assert lines[2]["year"] == 1979


def test_names_for_people(haas: Command) -> None:
    paths = "Show/Season 1/Show.S01E02E03.mkv\nShow {tvdb-7}/Show 2001-02-03.mkv\nnothing.mkv\n"
    shown = haas("names", "--kind", "tv", stdin=paths.encode())
    assert shown.code == 0
    assert "    Show S01E02E03\n" in shown.out
    assert "2001-02-03 {tvdb-7}" in shown.out
    assert "    not identified: " in shown.out


def test_names_keep_every_byte(haas: Command) -> None:
    odd = b"caf\xe9 (2001).mkv\0two\nlines (2002).mkv\0"
    shown = haas("names", "--kind", "movies", "--null", stdin=odd)
    assert "caf\udce9 (2001).mkv" in shown.out
    as_json = haas("names", "--kind", "movies", "--null", "--json", stdin=odd)
    first, second = [json.loads(line) for line in as_json.out.splitlines()]
    assert first["path"] == "caf\udce9 (2001).mkv"
    assert second["path"] == "two\nlines (2002).mkv"


def test_a_reader_that_leaves_early_is_no_error(haas: Command) -> None:
    many = "Heat (1995)/Heat.mkv\n" * 20_000
    script = f"{sys.executable} -m deployments.cli names --kind movies | head -1"
    done = subprocess.run(
        ["sh", "-c", script],
        input=many,
        env=haas.environment,
        cwd=haas.cwd,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "Heat (1995)/Heat.mkv\n"
    assert done.stderr == ""


def test_an_output_that_is_not_utf_8_or_closed_is_no_error(haas: Command, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    film = tmp_path / "films" / "Wałęsa 🎬 (2013).mkv"
    film.parent.mkdir()
    film.write_bytes(b"x")
    scanned(settings)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f"{sys.executable} -m deployments.cli {command}"],
            env=haas.environment | {"PYTHONIOENCODING": "ascii"},
            cwd=haas.cwd,
            capture_output=True,
            text=True,
        )

    checked = run("check")
    assert " + data  " in checked.stdout
    assert " x Prefect  " in checked.stdout
    assert r"Wa\u0142\u0119sa" in run("library").stdout
    [movie] = json.loads(run("library --json").stdout)["movies"]
    assert movie["versions"][0]["files"] == [film.name]
    closed = run("library --json >&-")
    assert (closed.returncode, closed.stderr) == (0, "")


def test_what_is_wrong_is_said_in_a_sentence(haas: Command, tmp_path: Path) -> None:
    shown = haas("library", environment={"HAAS_LIBRARYS": "[]"})
    assert shown.err == "haas: HAAS_LIBRARYS is not a setting; did you mean HAAS_LIBRARIES?\n"
    (tmp_path / "data" / "catalog.sqlite3").write_bytes(b"no database at all" * 100)
    unforeseen = haas("library")
    (tmp_path / "haas.toml").write_text("libraries = [")
    broken = haas("library")
    assert "is not valid TOML" in broken.err
    (tmp_path / "haas.toml").unlink()
    no_folder = haas("demo", "--directory", "/dev/null/demo")
    assert no_folder.err.startswith("haas: /dev/null/demo/")
    assert no_folder.err.endswith(": Not a directory.\n")
    for refused in (unforeseen, broken, no_folder):
        assert refused.code == 1
        assert refused.err.startswith("haas: ")
        assert "Traceback" not in refused.err


def test_an_empty_catalog(haas: Command) -> None:
    assert "nothing has been scanned" in haas("library").out
    assert json.loads(haas("library", "--json").out) == {
        "libraries": [],
        "movies": [],
        "shows": [],
        "people": 0,
        "unmatched": [],
    }


def test_what_the_catalog_holds(haas: Command, samples: SampleLibrary, tmp_path: Path) -> None:
    config = settings_of(samples, tmp_path)
    config.write_text(f'data_dir = "data"\n{config.read_text()}')
    scanned(load_settings(config))
    shown = haas("library")
    assert shown.code == 0
    for text in ("Films", "Metropolis", "1927", "Sherlock Holmes", "specials: 1, season 1: 4"):
        assert text in shown.out
    assert "Unmatched (1)" in shown.out

    holds = json.loads(haas("library", "--json").out)
    films, shows = holds["libraries"]
    assert films["files"] == {"extra": 2, "matched": 11, "unmatched": 1}
    assert shows["files"] == {"matched": 11}
    [bunny] = [movie for movie in holds["movies"] if movie["title"] == "Big Buck Bunny"]
    assert len(bunny["versions"]) == 2
    [holmes] = [show for show in holds["shows"] if show["title"] == "Sherlock Holmes"]
    assert holmes["episodes"] == {"0": 1, "1": 4}

    unmatched = haas("library", "--unmatched")
    assert "Films: incoming/8f3a9c2e71d04b55.mkv" in unmatched.out
    assert "Metropolis" not in unmatched.out
    [file] = json.loads(haas("library", "--unmatched", "--json").out)["unmatched"]
    assert file["library"] == "Films"
    assert file["reason"]


def test_the_copies_of_a_film_and_their_parts(haas: Command, tmp_path: Path) -> None:
    folder = tmp_path / "films" / "Heat (1995)"
    (folder / "BDMV" / "STREAM").mkdir(parents=True)
    names = ["Heat CD2.avi", "heat cd1.avi", "BDMV/STREAM/00001.m2ts"]
    for name in [*names, "Heat (1995) - 1080p {edition-Final Cut}.mkv"]:
        (folder / name).write_bytes(b"x")
    scanned(settings_for(tmp_path))
    [heat] = json.loads(haas("library", "--json").out)["movies"]
    at = "Heat (1995)"
    assert heat["versions"] == [
        {"edition": None, "version": None, "files": [f"{at}/BDMV"]},
        {
            "edition": "Final Cut",
            "version": "1080p",
            "files": [f"{at}/Heat (1995) - 1080p {{edition-Final Cut}}.mkv"],
        },
        {"edition": None, "version": None, "files": [f"{at}/heat cd1.avi", f"{at}/Heat CD2.avi"]},
    ]
    shown = " ".join(haas("library").out.split())
    assert "Final Cut, 1080p" in shown
    assert shown.index("heat cd1.avi part 1") < shown.index("Heat CD2.avi part 2")


def test_the_file_of_a_removed_title_is_listed_while_it_is_there(
    haas: Command, tmp_path: Path
) -> None:
    from haas_media.library.remove import remove_from_library

    films = tmp_path / "films"
    films.mkdir()
    for name in ("Heat (1995) {tmdb-949}.mkv", "Ran (1985).mkv"):
        (films / name).write_bytes(b"x")
    settings, listed = settings_for(tmp_path), []
    scanned(settings)
    with open_catalog(settings.database_url) as catalog:
        remove_from_library(catalog, "movie", 949)
    for _ in range(2):
        scanned(settings)
        holds = json.loads(haas("library", "--json").out)
        listed.append((holds["libraries"][0]["files"], len(holds["unmatched"])))
        (films / "Heat (1995) {tmdb-949}.mkv").unlink(missing_ok=True)
    assert listed == [({"matched": 1, "unmatched": 1}, 1), ({"matched": 1}, 0)]


def test_a_film_without_a_file_has_a_list_of_none(haas: Command, tmp_path: Path) -> None:
    from haas_media.catalog.store_titles import store_title
    from haas_media.providers.records import MovieRecord

    url = f"sqlite:///{tmp_path}/data/catalog.sqlite3"
    with open_catalog(url) as catalog, catalog.session() as session:
        store_title(session, MovieRecord(tmdb_id=603, title="The Matrix"))
    [movie] = json.loads(haas("library", "--json").out)["movies"]
    assert (movie["tmdb_id"], movie["versions"]) == (603, [])
    shown = haas("library").out
    assert "The Matrix" in shown
    assert "no file" in shown
    assert "empty" not in shown


def test_pruning_reports_and_removes_only_with_yes(haas: Command, tmp_path: Path) -> None:
    from haas_media.catalog import models

    url = f"sqlite:///{tmp_path}/data/catalog.sqlite3"
    with open_catalog(url) as catalog, catalog.session() as session:
        session.add(models.Library(title="Gone", kind="movies", path="/gone"))
        session.add(models.Movie(title="Heat", year=1995, match_key="heat|1995"))
        session.add(models.Movie(title="Wanted", match_key="wanted|", requested=True))
    alone = haas("library", "--yes")
    assert (alone.code, alone.err) == (1, "haas: --yes and --gone-for-good go with --prune.\n")
    unknown = haas("library", "--prune", "--yes", "--gone-for-good", "Films")
    assert (unknown.code, unknown.err) == (
        1,
        "haas: 'Films' is not out of reach. What is: nothing.\n",
    )
    looked = haas("library", "--prune")
    assert "Would remove 1 library, 1 title and 0 file records." in looked.out
    assert "Gone (/gone): 0 files on record" in looked.out
    assert "'haas library --prune --yes' removes it." in looked.out
    pruned = json.loads(haas("library", "--prune", "--yes", "--json").out)
    assert (pruned["dry_run"], pruned["titles"]) == (False, ["Heat (1995)"])
    left = json.loads(haas("library", "--json").out)
    assert (left["libraries"], [movie["title"] for movie in left["movies"]]) == ([], ["Wanted"])
