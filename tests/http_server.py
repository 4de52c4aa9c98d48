"""A quiet HTTP server: what receivers of telemetry stand on."""

from __future__ import annotations

import gzip
import threading
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """The answer to a request."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class HttpServer:
    """Listens at a free port of 127.0.0.1 from the start.

    ``answer`` is called with the path, the headers (lower case) and the unpacked body of each
    request; for None the connection is closed without an answer. With a certificate and its key
    TLS is spoken.
    """

    def __init__(
        self,
        answer: Callable[[str, dict[str, str], bytes], Reply | None],
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                reply = answer(self.path, headers, _unpacked(headers, body))
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                for header in reply.headers:
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(reply.body)

            def do_GET(self) -> None:  # so comes who is sent on
                self.do_POST()

            def log_message(self, *args: Any) -> None:
                """Say nothing: tests read what was taken, not a log."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        if certificate and key:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections cut by a fault are meant to end so."""


def _unpacked(headers: dict[str, str], body: bytes) -> bytes:
    encoding = headers.get("content-encoding", "")
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body
