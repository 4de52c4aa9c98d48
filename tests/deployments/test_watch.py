"""What changes is in the catalog without a person, and people hear what fails: on a real stack."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from deployments.automations import drift, put_up
from deployments.runs import trigger
from deployments.samples import make_long_film
from deployments.stack import Stack
from haas_media.encoding import find_ffmpeg
from haas_otel.delivery.store import StoredSpan, TraceStore
from tests.deployments.conftest import ROOT, clean_environment
from tests.http_server import HttpServer, Reply
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun

    from deployments.samples import SampleLibrary

pytestmark = pytest.mark.e2e


class Home:
    """A stack with one library of films, and a watch of it that takes webhooks."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.films, self.data, self.clip = folder / "films", folder / "data", clip
        self.films.mkdir()
        self.environment = clean_environment(folder) | {"HAAS_SCAN_SCHEDULE": "off"}
        self.of_runs = {
            "HAAS_LIBRARIES": json.dumps(
                [{"title": "Films", "kind": "movies", "path": str(self.films)}]
            ),
            "HAAS_WATCH_LISTEN": "127.0.0.1:0",
            "HAAS_WATCH_PATH_MAPPINGS": json.dumps({"/there": str(self.films)}),
        }
        self.stack = Stack(
            self.data, port=0, environment=self.environment, worker_environment=self.of_runs
        )

    @property
    def of_commands(self) -> dict[str, str]:
        where = {"PREFECT_API_URL": self.stack.address.api, "PYTHONPATH": str(ROOT)}
        return self.environment | self.of_runs | where

    def put(self, *names: str) -> None:
        for name in names:
            (self.films / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.clip, self.films / name)

    def on_record(self) -> set[str]:
        file = self.data / "catalog.sqlite3"
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as catalog:
                return {path for (path,) in catalog.execute("SELECT path FROM media_files")}
        except sqlite3.OperationalError:  # it is not there yet
            return set()

    def settle(self) -> None:
        """Wait until the record is what is there, and every run that was asked for has ended."""

        def settled() -> bool:
            there = {str(each.relative_to(self.films)) for each in self.films.rglob("*.mkv")}
            return self.on_record() == there and all(
                run.state and run.state.is_final() for run in self.runs()
            )

        try:
            wait_until(settled, interval=0.5, timeout=600)
        except AssertionError:
            said = [f"{run.name}: {run.state_name}, {run.parameters}" for run in self.runs()]
            logs = [f"{log}:\n{log.read_text()[-2000:]}" for log in self.stack.logs.iterdir()]
            pytest.fail("\n".join([str(self.on_record()), *said, *logs]))

    def runs(self, deployment: str = "on-event") -> list[FlowRun]:
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

        name = DeploymentFilterName(any_=[deployment])
        with self.stack.client() as client:
            return client.read_flow_runs(deployment_filter=DeploymentFilter(name=name))

    def spans(self) -> list[StoredSpan]:
        return TraceStore(self.stack.traces).tasks(task_type="MetadataScanTask", limit=500)

    def done(self, what: str) -> int:
        """Return a count of all scans together."""
        return sum(int(span.attributes.get(f"media.{what}", 0)) for span in self.spans())

    def scan_in(self, trace_id: str) -> StoredSpan:
        """Wait for the span of a scan that went on with this trace."""
        found: StoredSpan = wait_until(
            lambda: next((each for each in self.spans() if each.trace_id == trace_id), None),
            what=f"a scan in the trace {trace_id}",
        )
        return found

    def watch(self) -> None:
        """Start the watch; learn where its webhooks go."""
        log = self.stack.logs / "watch.log"
        before = log.read_text().count("Watching Films") if log.exists() else 0
        self.stack.start_watch()
        wait_until(lambda: log.read_text().count("Watching Films") > before)
        self.webhooks = log.read_text().rpartition("Webhooks go to ")[2].split()[0]

    def restart_server(self) -> None:
        server = self.stack.server
        assert server is not None
        self.stack.wanted_port = int(self.stack.address.api.rpartition(":")[2].partition("/")[0])
        server.kill()
        self.stack._api_url = None
        self.stack.start_server()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, samples: SampleLibrary) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("watch"), next(samples.films.rglob("*.mkv")))
    with home.stack as stack:
        stack.start()
        home.put("Before (1999).mkv")
        home.watch()
        home.settle()
        yield home


def films(title: str, number: int) -> list[str]:
    return [f"{title} {each} (1990)/{title} {each} (1990).mkv" for each in range(number)]


def test_what_lands_moves_and_goes_is_in_the_catalog_by_few_runs(home: Home) -> None:
    before = len(home.runs())
    slow = home.films / "Slow (1990).mkv"
    with slow.open("wb", buffering=0) as file:
        for name in films("Film", 200):
            home.put(name)
            file.write(b"no film, but on its way")
        for _ in range(50):  # longer than it takes a file to be taken for whole
            file.write(b"no film, but on its way")
            time.sleep(0.1)
    home.settle()
    assert 1 <= len(home.runs()) - before <= 10
    (home.films / "Film 1 (1990)").rename(home.films / "Renamed (1990)")
    (home.films / "Film 2 (1990)" / "Film 2 (1990).mkv").unlink()
    home.settle()
    assert {what: home.done(what) for what in ("new", "changed", "moved", "removed")} == {
        "new": 202,  # with the one before
        "changed": 0,
        "moved": 1,
        "removed": 1,
    }


def test_nothing_is_lost_and_nothing_found_twice_whatever_dies(home: Home) -> None:
    before = home.done("new")
    for worker in home.stack.workers.values():
        worker.kill()
    home.stack.workers.clear()
    runs = len(home.runs())
    home.put(*films("Without a worker", 3))
    wait_until(lambda: len(home.runs()) > runs, what="a run that waits")
    home.put(*films("While it waits", 3))
    assert home.stack.server is not None
    home.stack.server.kill()
    home.put(*films("Without a server", 3))
    assert home.stack.watch is not None
    home.stack.watch.kill()
    home.put(*films("Without a watch", 3))
    home.restart_server()
    home.watch()
    home.put(*films("Again", 3))
    home.stack.start_worker()
    home.settle()
    assert home.done("new") - before == 15


def test_others_tell_of_changes_and_their_trace_goes_on(home: Home) -> None:
    """By webhook, by a custom script of Radarr's, and by Prefect's own way of sending events."""
    home.put(*films("Told", 3))
    home.settle()
    trace = "0af7651916cd43dd8448eb211c80319"
    body = {"eventType": "Download", "movieFile": {"path": "/there/Told 0 (1990)"}}
    caller = {"traceparent": f"00-{trace}1-00f067aa0ba902b7-01"}
    answer = httpx.post(home.webhooks, json=body, headers=caller, timeout=60)
    assert answer.status_code == 202
    assert home.scan_in(f"{trace}1").parent_id == "00f067aa0ba902b7"
    home.settle()

    environment = home.of_commands | {"TRACEPARENT": f"00-{trace}2-00f067aa0ba902b7-01"}
    told = {"radarr_eventtype": "Download", "radarr_moviefile_path": "/there/Told 1 (1990)"}
    cli = ("-m", "deployments.cli", "notify")
    done = warm().run(*cli, env=environment | told, cwd=home.data)
    assert (done.returncode, done.stdout) == (0, "Films: 1 path handed on\n")
    assert home.scan_in(f"{trace}2").attributes["media.found"] == 1
    done = warm().run(*cli, "/elsewhere/Film.mkv", env=environment, cwd=home.data)
    assert done.returncode == 1
    assert f"/elsewhere/Film.mkv is in no library. Folders of libraries: {home.films}." in (
        done.stderr
    )

    runs = len(home.runs())
    event = {
        "event": "haas.library.changed",
        "occurred": "2026-01-01T00:00:00Z",
        "id": "5a3f4f0e-7a63-4d4e-8a3b-0c4d2c1f0a11",
        "resource": {"prefect.resource.id": "haas.library.Films"},
        "payload": {"paths": [str(home.films / "Told 2 (1990)"), "/elsewhere"]},
    }
    answer = httpx.post(f"{home.stack.address.api}/events", json=[event], timeout=60)
    assert answer.status_code == 204
    wait_until(lambda: len(home.runs()) > runs, what="the run of an event")
    home.settle()


def test_what_is_encoded_is_scanned_in_the_same_trace(home: Home) -> None:
    if home.stack.watch is not None:
        home.stack.watch.stop(10)
    output = home.films / "Encoded (2001).mkv"
    with home.stack.client() as client:
        source = str(home.films / "Before (1999).mkv")
        run = trigger(client, "encoding/on-demand", {"source": source, "output": str(output)})
    home.scan_in(run.id.hex)
    home.settle()
    assert output.name in home.on_record()


def test_each_incident_is_told_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []

    def take(path: str, headers: dict[str, str], body: bytes) -> Reply:
        messages.append(json.loads(body)["subject"] + "\n" + json.loads(body)["body"])
        return Reply(200)

    def told(subject: str) -> list[str]:
        return [each for each in messages if each.startswith(subject)]

    times = {"HAAS_ENCODING_LONG": "10s", "HAAS_SCAN_OVERDUE": "10s", "HAAS_MACHINE_GONE": "45s"}
    for variable, short in times.items():
        monkeypatch.setenv(variable, short)
    make_long_film(find_ffmpeg(), home.films / ".long" / "Long (2000).mkv")
    server = HttpServer(take)
    with home.stack.client() as client:
        address = f"http://127.0.0.1:{server.port}/hook"
        assert len(put_up(client, address)) == 4
        assert put_up(client, address) == drift(client, address) == []
        gone = home.stack.start_worker("gone")
        wait_until(lambda: "gone" in home.stack.online(), what="the other machine")
        gone.kill()
        trigger(client, "metadata-scan/hourly", {})
        failed = trigger(client, "add-to-library/on-demand", {"kind": "movie", "tmdb_id": 1})
        film = str(home.films / ".long" / "Long (2000).mkv")
        killed = trigger(
            client,
            "encoding/on-demand",
            {"source": film, "output": f"{film}.av1.mkv", "video_codec": "av1"},
        )
    other = home.of_commands | times | {"HAAS_NOTIFY": address, "HAAS_ENCODING_LONG": "11s"}
    said = warm().run("-m", "deployments.cli", "check", env=other, cwd=home.data).stdout
    assert "Not as they are to be: haas-media: an encoding takes long." in said
    assert len(told("haas-media: a test")) == 1
    wait_until(lambda: told("encoding: takes more than 10s"), what="a long encoding")
    worker = next(each for name, each in home.stack.workers.items() if name != "gone")
    for process in psutil.Process(worker.pid).children(recursive=True):
        with suppress(psutil.Error):  # what it had started ends with it
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(killed.id):
                process.kill()
    subjects = (
        *("haas-media: a test", "encoding: takes more than 10s", "encoding: Crashed"),
        *("add-to-library: Failed", "metadata-scan: no scan has succeeded"),
        "A machine is gone: gone",  # a busy one that lives may be, too
    )
    for subject in subjects:
        wait_until(lambda subject=subject: told(subject), what=subject)
    assert [len(told(subject)) for subject in subjects] == [1] * len(subjects), messages
    (text,) = told("add-to-library: Failed")
    assert "there is no token" in text
    assert f"/runs/flow-run/{failed.id}" in text
    assert f"Trace: {failed.id.hex}" in text
    done = warm().run("-m", "deployments.automations", env=home.of_commands, cwd=home.data)
    assert (done.returncode, done.stdout.count("Taken away: haas-media: ")) == (0, 4)
