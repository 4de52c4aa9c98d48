"""What others tell: the bodies that Sonarr and Radarr document, a plain one, and none other."""

from __future__ import annotations

import json
import socket
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from deployments.claim import Claim
from deployments.server import ServerError
from deployments.watch import Notice
from deployments.webhooks import WebhookError, listen, notify, paths_of_script
from haas_media.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SERIES = {"id": 1, "title": "Fargo", "path": "/tv/Fargo", "tvdbId": 269613, "type": "standard"}
MOVIE = {"id": 1, "title": "Heat", "year": 1995, "folderPath": "/movies/Heat (1995)", "tmdbId": 949}
EPISODE = "/tv/Fargo/Season 1/Fargo S01E01.mkv"
FILM = "/movies/Heat (1995)/Heat (1995).mkv"


def file(path: str) -> dict[str, Any]:
    return {"id": 7, "relativePath": path.rpartition("/")[2], "path": path, "quality": "HDTV-720p"}


# What Sonarr 4 and Radarr 5 send, without what does not matter here.
BODIES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plain": ({"paths": [EPISODE, FILM]}, [EPISODE, FILM]),
    "of Windows, which minds no capitals": (
        {"paths": [r"D:\TV\Fargo\a.mkv"]},
        ["/tv/Fargo/a.mkv"],
    ),
    "Sonarr, imported": (
        {
            "eventType": "Download",
            "instanceName": "Sonarr",
            "series": SERIES,
            "episodes": [{"id": 3, "episodeNumber": 1, "seasonNumber": 1}],
            "episodeFile": file(EPISODE) | {"sourcePath": "/downloads/fargo.mkv"},
            "isUpgrade": True,
            "deletedFiles": [file(EPISODE.replace(".mkv", ".avi"))],
        },
        [EPISODE, EPISODE.replace(".mkv", ".avi")],
    ),
    "Sonarr, a season imported": (
        {
            "eventType": "Download",
            "series": SERIES,
            "episodeFiles": [file(EPISODE), file(EPISODE.replace("E01", "E02"))],
            "sourcePath": "/downloads/fargo",
            "destinationPath": "/tv/Fargo",
        },
        [EPISODE, EPISODE.replace("E01", "E02")],
    ),
    "Sonarr, renamed": (
        {
            "eventType": "Rename",
            "series": SERIES,
            "renamedEpisodeFiles": [file(EPISODE) | {"previousPath": "/tv/Fargo/1x01.mkv"}],
        },
        [EPISODE, "/tv/Fargo/1x01.mkv"],
    ),
    "Sonarr, a file deleted": (
        {"eventType": "EpisodeFileDelete", "series": SERIES, "episodeFile": file(EPISODE)},
        [EPISODE],
    ),
    "Sonarr, a series deleted": (
        {"eventType": "SeriesDelete", "series": SERIES, "deletedFiles": True},
        ["/tv/Fargo"],
    ),
    "Sonarr, tried": (
        {
            "eventType": "Test",
            "series": {"id": 1, "title": "Test Title", "path": "C:\\testpath", "tvdbId": 1234},
            "episodes": [{"id": 123, "episodeNumber": 1, "seasonNumber": 1}],
        },
        [],
    ),
    "Radarr, imported": (
        {
            "eventType": "Download",
            "movie": MOVIE,
            "remoteMovie": {"tmdbId": 949, "imdbId": "tt0113277", "title": "Heat", "year": 1995},
            "movieFile": file(FILM) | {"sourcePath": "/downloads/heat.mkv"},
        },
        [FILM],
    ),
    "Radarr, renamed": (
        {
            "eventType": "Rename",
            "movie": MOVIE,
            "renamedMovieFiles": [file(FILM) | {"previousPath": "/movies/Heat (1995)/heat.mkv"}],
        },
        [FILM, "/movies/Heat (1995)/heat.mkv"],
    ),
    "Radarr, a movie deleted": (
        {"eventType": "MovieDelete", "movie": MOVIE, "deletedFiles": True},
        ["/movies/Heat (1995)"],
    ),
    "Radarr, a release grabbed": ({"eventType": "Grab", "movie": MOVIE}, []),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "tv").mkdir()
    (tmp_path / "films").mkdir()
    return Settings.model_validate(
        {
            "libraries": [
                {"title": "Films", "kind": "movies", "path": tmp_path / "films"},
                {"title": "Shows", "kind": "tv", "path": tmp_path / "tv"},
            ],
            "watch": {
                "password": "open sesame",
                "path_mappings": {
                    "/tv": tmp_path / "tv",
                    "/movies/": tmp_path / "films",
                    r"d:\tv": tmp_path / "tv",
                },
            },
        }
    )


class Webhooks:
    def __init__(self, settings: Settings) -> None:
        self._notices = SimpleQueue[Notice]()
        self.address = listen(settings, "127.0.0.1:0", self._notices)

    def post(self, content: bytes, password: str = "open sesame", **headers: str) -> httpx.Response:
        auth = ("sonarr", password)
        url = f"{self.address}sonarr"
        return httpx.post(url, content=content, auth=auth, headers=headers, timeout=60)

    def taken(self) -> list[Notice]:
        found = []
        while True:
            try:
                found.append(self._notices.get_nowait())
            except Empty:
                return found


@pytest.fixture
def webhooks(settings: Settings) -> Webhooks:
    return Webhooks(settings)


def here(path: str, tmp_path: Path) -> str:
    return path.replace("/tv", f"{tmp_path}/tv").replace("/movies", f"{tmp_path}/films")


def test_documented_bodies_are_taken(webhooks: Webhooks, tmp_path: Path) -> None:
    for name, (body, paths) in BODIES.items():
        answer = webhooks.post(json.dumps(body).encode(), traceparent="00-1-2-01")
        assert (answer.status_code, name) == (202, name)
        notices = [Notice(here(path, tmp_path), "00-1-2-01", ready=True) for path in paths]
        assert (webhooks.taken(), name) == (notices, name)


def test_whoever_learns_the_address_may_connect_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that answers may come to it late, as on a busy machine."""
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: Event().wait())
    port = listen(settings, "127.0.0.1:0", SimpleQueue()).rstrip("/").rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30):
        pass
    with pytest.raises(WebhookError, match="cannot be listened at"):
        listen(settings, f"127.0.0.1:{port}", SimpleQueue())


REFUSED = {
    b"": (400, "not JSON"),
    b"[" * 100_000: (400, "not JSON"),
    b'["/tv"]': (400, "A JSON object is expected"),
    b'{"files": []}': (400, 'neither "paths" nor the "eventType"'),
    b'{"paths": "/tv"}': (400, '"paths" has to be a list of texts'),
    b'{"paths": [1]}': (400, '"paths" has to be a list of texts'),
    b'{"eventType": "Download"}': (400, "names no file and no folder"),
    b'{"paths": ["/tv/../etc/passwd"]}': (422, "is in no library here"),
    b'{"paths": ["/tv/a", "relative"]}': (422, "relative is in no library here"),
    b'{"paths": ["/a\\ud83d"]}': (422, "/a\ufffd is in no library here"),
    b'{"paths": ["' + b"x" * 1_000_000 + b'"]}': (413, "larger than 1000000 bytes"),
}


def test_everything_else_is_refused_in_a_sentence(webhooks: Webhooks) -> None:
    answers = {body: webhooks.post(body) for body in REFUSED}
    said = {
        body: (each.status_code, REFUSED[body][1] in each.text) for body, each in answers.items()
    }
    assert said == {body: (status, True) for body, (status, _) in REFUSED.items()}
    assert webhooks.post(b'{"paths": []}', password="sesame").status_code == 401
    odd = httpx.post(webhooks.address, headers=[(b"Authorization", b"Basic \xfc")], timeout=60)
    assert odd.status_code == 401
    assert webhooks.taken() == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:0", "set HAAS_WATCH_PASSWORD"),
        ("192.0.2.1:0", "set HAAS_WATCH_PASSWORD"),
        ("127.0.0.1", "is no address to listen at"),
        ("127.0.0.1:70000", "is no address to listen at"),
        ("somewhere:8770", "is no address to listen at"),
    ],
)
def test_addresses_that_are_not_listened_at(address: str, said: str) -> None:
    with pytest.raises(WebhookError, match=said):
        listen(Settings(), address, SimpleQueue())


@pytest.mark.parametrize(
    ("environment", "paths"),
    [
        (
            {
                "Sonarr_EventType": "Download",
                "Sonarr_Series_Path": "/tv/Fargo",
                "Sonarr_EpisodeFile_Path": EPISODE,
                "Sonarr_EpisodeFile_RelativePath": "Season 1/Fargo S01E01.mkv",
                "Sonarr_EpisodeFile_SourcePath": "/downloads/fargo.mkv",
                "Sonarr_DeletedPaths": "/tv/Fargo/a.avi|/tv/Fargo/b.avi",
            },
            [EPISODE, "/tv/Fargo/a.avi", "/tv/Fargo/b.avi"],
        ),
        (
            {
                "Radarr_EventType": "Rename",
                "Radarr_Movie_Path": "/movies/Heat (1995)",
                "Radarr_MovieFile_Paths": FILM,
                "Radarr_MovieFile_PreviousPaths": "/movies/Heat (1995)/heat.mkv",
                "Radarr_MovieFile_PreviousRelativePaths": "heat.mkv",
            },
            [FILM, "/movies/Heat (1995)/heat.mkv"],
        ),
        (
            {"sonarr_eventtype": "SeriesDelete", "sonarr_series_path": "/tv/Fargo"},
            ["/tv/Fargo"],
        ),
        ({"radarr_eventtype": "Test"}, []),
        ({"PATH": "/bin"}, None),
    ],
)
def test_what_is_handed_to_a_custom_script(
    environment: dict[str, str], paths: list[str] | None
) -> None:
    assert paths_of_script(environment) == paths


def test_nothing_to_tell_of_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("radarr_eventtype", "Test")
    assert notify(settings, []) == []
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("radarr_eventtype")
    with pytest.raises(ServerError, match="No server is set"):
        notify(settings, [str(settings.libraries[0].path)])
    up = Claim(settings.data_dir)
    up.tell("http://127.0.0.1:9/api")
    with pytest.raises(ServerError, match=r"http://127.0.0.1:9/api does not answer"):
        notify(settings, [str(settings.libraries[0].path)])
    up.release()
    with pytest.raises(WebhookError, match="Give the paths that have changed"):
        notify(settings, [])
