"""The HTTP server: TMDb's paths, errors and limits on 127.0.0.1."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from haas_media.providers.tmdb import RetryPolicy, TmdbClient
from tests.fake_tmdb.catalogue import Catalogue
from tests.fake_tmdb.faults import MESSAGES, Fault, Script

Answer = tuple[int, Any]
QUICK = RetryPolicy(first_wait=dt.timedelta(milliseconds=5), longest_wait=dt.timedelta(0, 0.05))


@dataclass(frozen=True)
class Seen:
    """A request as it arrived: ``at`` in monotonic seconds, ``query`` without credentials."""

    at: float
    path: str
    query: dict[str, str]
    api_key: str | None
    bearer: str | None
    status: int


class FakeTmdb:
    """A TMDb of one's own, as a context manager.

    Args:
        catalogue: what it knows; empty by default.
        token: refuse any other with 401; by default any is taken, but there has to be one.
        latency: seconds before each answer.
        port: a free one by default.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        *,
        token: str | None = None,
        latency: float = 0.0,
        port: int = 0,
    ) -> None:
        self.catalogue = catalogue or Catalogue()
        self.token = token
        self.latency = latency
        self.faults = Script()
        self.requests: list[Seen] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._server = self._listen(port)
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """What HAAS_TMDB_URL is to be set to."""
        return f"http://127.0.0.1:{self.port}/3"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._close()

    # -- faults --------------------------------------------------------------------------------

    def fail(self, fault: Fault, path: str = "", times: int | None = 1) -> None:
        """Let the next ``times`` requests whose path matches the expression fail."""
        self.faults.add(fault, path, times)

    def down(self, fault: Fault | None = None) -> None:
        """Be away: with that fault, or with the port closed."""
        if fault is not None:
            self.faults.outage = fault
        else:
            self._close()

    def up(self) -> None:
        """Be back on the same port, with no fault left."""
        self.faults.clear()
        if self._server.socket.fileno() == -1:
            self._server = self._listen(self.port)

    # -- what was seen -------------------------------------------------------------------------

    def paths(self) -> list[str]:
        """Return the paths asked for, without the version."""
        return [seen.path.removeprefix("/3") for seen in self.requests]

    def forget(self) -> None:
        """Forget the requests seen so far."""
        self.requests.clear()

    # -- answering -----------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Return status and body for a path that begins with ``/3``."""
        match path.removeprefix("/3").strip("/").split("/"):
            case ["search", "movie" | "tv" as kind]:
                return self._search(kind, query)
            case ["find", value]:
                return 200, self.catalogue.find(query.get("external_source", ""), value)
            case ["movie" | "tv" | "person" as kind, "changes"]:
                return self._changes(kind, query)
            case ["movie" | "tv" | "person" as kind, number] if number.isdigit():
                return self._details(kind, int(number), query)
            case ["tv", number, "season", season] if number.isdigit() and season.isdigit():
                body = self.catalogue.season(int(number), int(season))
                return (200, body) if body else error(404)
        return error(404)

    def _details(self, kind: str, tmdb_id: int, query: dict[str, str]) -> Answer:
        record = self.catalogue.read(kind, tmdb_id)
        if record is None:
            return error(404)
        wanted = set(query.get("append_to_response", "").split(","))
        appendable = {"credits", "aggregate_credits", "external_ids"}
        return 200, {k: v for k, v in record.items() if k not in appendable - wanted}

    def _search(self, kind: str, query: dict[str, str]) -> Answer:
        if not query.get("query"):
            return 200, paged([], 1, 20)
        year = query.get("year" if kind == "movie" else "first_air_date_year", "")
        found = self.catalogue.search(kind, query["query"], int(year) if year.isdigit() else None)
        return 200, paged(found, int(query.get("page", 1)), 20)

    def _changes(self, kind: str, query: dict[str, str]) -> Answer:
        today = dt.datetime.now(dt.UTC).date()
        end = dt.date.fromisoformat(query.get("end_date", str(today)))
        start = dt.date.fromisoformat(query.get("start_date", str(end - dt.timedelta(days=1))))
        if (end - start).days > 14:
            return error(422)
        page = int(query.get("page", 1))
        if page > 500:
            return 400, {"success": False, "status_code": 22, "status_message": "Invalid page"}
        return 200, paged(self.catalogue.changes(kind, start, end), page, 100)

    def note(self, seen: Seen) -> None:
        """Keep a request."""
        with self._lock:
            self.requests.append(seen)

    # -- listening -----------------------------------------------------------------------------

    def _listen(self, port: int) -> ThreadingHTTPServer:
        fake = self

        class Handler(_Handler):
            tmdb = fake

        server = _Server(("127.0.0.1", port), Handler)
        # Asked every 20 ms whether to stop, so that tests end soon.
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _close(self) -> None:
        if self._server.socket.fileno() == -1:
            return
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            # At once: what arrives before its thread has noticed a reset would still be answered.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        """Keep a connection, to be reset when the server goes down."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._connections.discard(connection)

    def pause(self, seconds: float) -> bool:
        """Wait; True when the server is stopping."""
        return self._stopping.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tmdb: FakeTmdb

    def setup(self) -> None:
        super().setup()
        self.tmdb.opened(self.connection)

    def finish(self) -> None:
        self.tmdb.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing; ``requests`` has it all."""

    def do_GET(self) -> None:
        now = time.monotonic()
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        api_key = query.pop("api_key", None)
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        fault = self.tmdb.faults.next_for(f"{parts.path}?{parts.query}")
        status, body = self._decide(parts.path, query, api_key or bearer, fault)
        self.tmdb.note(Seen(now, parts.path, query, api_key, bearer, status))
        if self.tmdb.latency and self.tmdb.pause(self.tmdb.latency):
            return
        self._send(status, body, fault)

    def _decide(
        self, path: str, query: dict[str, str], token: str | None, fault: Fault | None
    ) -> Answer:
        if fault is not None and fault.how == "status":
            return error(fault.status)
        if token is None or self.tmdb.token not in (None, token):
            return error(401)
        return self.tmdb.answer(path, query)

    def _send(self, status: int, body: Any, fault: Fault | None) -> None:
        how = fault.how if fault else "status"
        if how == "reset":
            self.close_connection = True
            return reset(self.connection)
        if how == "stall" and fault is not None:
            self.tmdb.pause(fault.seconds)
            self.close_connection = True
            return None
        data = json.dumps(body).encode()
        if how == "truncate":
            data = data[: len(data) // 2]
        if how == "garbage":
            data = b"<html><body>Please log in to the hotel's network</body></html>"
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (fault.headers if fault else {}).items():
            self.send_header(name, value)
        self.end_headers()
        if how == "trickle" and fault is not None:
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.tmdb.pause(fault.seconds):
                    break
            return None
        self.wfile.write(data)
        return None


def connected(url: str, token: str = "token", **options: Any) -> TmdbClient:
    """Return a client of a local TMDb, which retries after milliseconds."""
    return TmdbClient(token, url, **{"requests_per_second": 1000, "retries": QUICK, **options})


def error(status: int) -> Answer:
    """Return an error with TMDb's body for it."""
    code, message = MESSAGES.get(status, (11, "Internal error"))
    return status, {"success": False, "status_code": code, "status_message": message}


def paged(items: list[Any], page: int, size: int) -> dict[str, Any]:
    """Return a page of a list, as TMDb numbers them."""
    return {
        "page": page,
        "results": items[(page - 1) * size : page * size],
        "total_pages": max(1, -(-len(items) // size)),
        "total_results": len(items),
    }


def reset(connection: socket.socket) -> None:
    """End a connection with a TCP reset."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        connection.close()
    except OSError:
        pass
