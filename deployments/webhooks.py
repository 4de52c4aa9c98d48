"""What Sonarr, Radarr and others tell of changed files: by webhook, or to a custom script."""

from __future__ import annotations

import base64
import contextlib
import hmac
import ipaddress
import json
import os
import re
from threading import Thread
from typing import TYPE_CHECKING, Any

from deployments.watch import Notice
from haas_media.places import Places
from haas_media.wording import clean_text, counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from queue import SimpleQueue

    from starlette.requests import Request
    from starlette.responses import Response

    from haas_media.settings import Settings

MAX_BYTES = 1_000_000
# Of a download that is under way or of the program itself: nothing in a library has changed.
_NO_CHANGE = frozenset(
    {"test", "grab", "health", "healthrestored", "applicationupdate", "manualinteractionrequired"}
)
_SCRIPT_EVENT = re.compile(r"(sonarr|radarr)_eventtype")
_SCRIPT_FILES = re.compile(r"(sonarr|radarr)_(episodefile_|moviefile_)?(previous|deleted)?paths?")
_SCRIPT_FOLDER = re.compile(r"sonarr_series_path|radarr_movie_path")


class WebhookError(ValueError):
    """A body or an address that is not taken. The text says why, and what is."""


def paths_of(body: object) -> list[str]:
    """Return the paths that a webhook's body tells of.

    Args:
        body: what JSON held: of Sonarr or Radarr, or ``{"paths": [...]}``.

    Raises:
        WebhookError: it is none of these.
    """
    if not isinstance(body, dict):
        raise WebhookError(
            "A JSON object is expected: {\"paths\": [...]}, or Sonarr's or Radarr's."
        )
    if "paths" in body:
        paths = body["paths"]
        if not isinstance(paths, list) or not all(isinstance(each, str) for each in paths):
            raise WebhookError('"paths" has to be a list of texts.')
        return [path for path in paths if path]
    event = body.get("eventType")
    if not isinstance(event, str):
        raise WebhookError('There is neither "paths" nor the "eventType" of Sonarr and Radarr.')
    if event.lower() in _NO_CHANGE:
        return []
    files, folders = [], []
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict):
                continue
            if name in ("series", "movie"):
                folders += [item.get("folderPath") or item.get("path")]
            else:  # one or several files, renamed and deleted ones, too
                files += [item.get("path"), item.get("previousPath")]
    found = _texts(files) or _texts(folders)
    if not found:
        raise WebhookError(f"The event {event!r} names no file and no folder.")
    return found


def _texts(values: list[Any]) -> list[str]:
    return list(dict.fromkeys(map(str, filter(None, values))))


def paths_of_script(environment: Mapping[str, str]) -> list[str] | None:
    """Return the paths that Sonarr or Radarr hand to a custom script; None without either."""
    given = {name.lower(): value for name, value in environment.items()}
    event = next((given[name] for name in given if _SCRIPT_EVENT.fullmatch(name)), None)
    if event is None:
        return None
    if event.lower() in _NO_CHANGE:
        return []
    files = [
        path
        for name, value in given.items()
        if _SCRIPT_FILES.fullmatch(name)
        for path in value.split("|")
    ]
    folders = [value for name, value in given.items() if _SCRIPT_FOLDER.fullmatch(name)]
    return _texts(files) or _texts(folders)


def here(path: str, mappings: Mapping[str, Path]) -> str:
    """Return where a path of another machine or container is here.

    Args:
        path: as the other one sees it.
        mappings: what paths begin with there, and with what here; the longest that fits counts.
    """
    windows = "\\" in path and not path.startswith("/")
    plain = path.replace("\\", "/") if windows else path
    for there in sorted(mappings, key=len, reverse=True):
        start = there.replace("\\", "/").rstrip("/")
        begins, rest = plain[: len(start)], plain[len(start) :]
        same = begins == start or (windows and begins.lower() == start.lower())
        if same and rest[:1] in ("", "/"):
            return f"{mappings[there]}{rest}"
    return plain


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of ``ADDRESS:PORT``.

    Raises:
        WebhookError: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    with contextlib.suppress(ValueError):
        if 0 <= int(port) < 65536:
            return str(
                ipaddress.ip_address("127.0.0.1" if host in ("", "localhost") else host)
            ), int(port)
    raise WebhookError(f"{text!r} is no address to listen at: give one such as 127.0.0.1:8770.")


def listening_address(settings: Settings, address: str) -> tuple[str, int]:
    """Return host and port to take webhooks at.

    Raises:
        WebhookError: the address is none, or others reach it without a password.
    """
    host, port = address_of(address)
    if settings.watch.password is None and not ipaddress.ip_address(host).is_loopback:
        raise WebhookError(
            f"{host} can be reached by others: set HAAS_WATCH_PASSWORD, and have them send it "
            "(any user name, basic authentication), or listen at 127.0.0.1."
        )
    return host, port


def listen(settings: Settings, address: str, notices: SimpleQueue[Notice]) -> str:
    """Take webhooks in a thread from now on; return the address that they go to.

    Args:
        settings: the password, and how others see the disks.
        address: ``ADDRESS:PORT``; port 0 for any free one.
        notices: where paths go.

    Raises:
        WebhookError: the address is none or in use, or others reach it without a password.
    """
    import socket

    import uvicorn  # Prefect's own server, as starlette below

    host, port = listening_address(settings, address)
    password = settings.watch.password
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # Now, not when the thread comes to it: whoever learns the address may connect.
        listening.listen()
    except OSError as error:
        raise WebhookError(f"{address} cannot be listened at: {error.strerror}.") from None
    server = uvicorn.Server(
        uvicorn.Config(
            _app(settings, password.get_secret_value() if password else None, notices),
            log_config=None,
            access_log=False,
        )
    )
    Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}/"


def _app(settings: Settings, password: str | None, notices: SimpleQueue[Notice]) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    places = Places(settings.libraries)
    mappings = settings.watch.path_mappings

    async def take(request: Request) -> Response:
        if password is not None and not _knows(request.headers.get("authorization", ""), password):
            return PlainTextResponse(
                "The password is missing or wrong.\n", 401, {"WWW-Authenticate": "Basic"}
            )
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > MAX_BYTES:
                return PlainTextResponse(f"The body is larger than {MAX_BYTES} bytes.\n", 413)
        try:
            paths = [here(path, mappings) for path in paths_of(json.loads(content))]
        except WebhookError as error:
            return PlainTextResponse(f"{error}\n", 400)
        except (ValueError, RecursionError):
            return PlainTextResponse("The body is not JSON.\n", 400)
        _, outside = places.share(paths)
        if outside:
            return PlainTextResponse(
                f"{clean_text(outside[0])} is in no library here. If its disk is seen elsewhere "
                "there, say where with HAAS_WATCH_PATH_MAPPINGS.\n",
                422,
            )
        for path in paths:
            notices.put(Notice(path, request.headers.get("traceparent"), ready=True))
        return PlainTextResponse(f"{counted(len(paths), 'path')} taken.\n", 202)

    return Starlette(routes=[Route("/{rest:path}", take, methods=["POST", "PUT"])])


def _knows(header: str, password: str) -> bool:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        given = value.strip().encode()
    else:
        try:
            given = base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:  # no base64, or not even ASCII
            return False
    return hmac.compare_digest(given, password.encode())


def notify(settings: Settings, paths: list[str]) -> list[str]:
    """Send an event for paths; return a sentence for each library.

    Args:
        settings: which libraries there are, and how others see the disks.
        paths: absolute, or relative to the working directory; none for what Sonarr or Radarr
            hand to a custom script.

    Raises:
        WebhookError: a path is in no library, or nothing is given.
        ServerError: no server is set, or it does not answer, or refuses.
    """
    from deployments.server import connected
    from flows.events import CHANGED, emit

    wanted = paths or paths_of_script(os.environ)
    if wanted is None:
        raise WebhookError("Give the paths that have changed: haas notify PATH...")
    mappings = settings.watch.path_mappings
    wanted = [os.path.abspath(here(path, mappings)) for path in wanted]  # noqa: PTH100
    shared, outside = Places(settings.libraries).share(wanted)
    if outside:
        known = ", ".join(str(library.path) for library in settings.libraries) or "none"
        raise WebhookError(f"{outside[0]} is in no library. Folders of libraries: {known}.")
    traceparent = os.environ.get("TRACEPARENT")
    for library, changed in shared.items():
        with connected(settings.data_dir) as (_, client):
            emit(client, CHANGED, library, changed, traceparent=traceparent)
    return [
        f"{library}: {counted(len(changed), 'path')} handed on"
        for library, changed in shared.items()
    ]
