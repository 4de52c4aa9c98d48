"""A TCP port that passes connections on, or breaks them."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A request is longer than this, so that a connection cut here dies in the middle of one.
_DROP_AFTER_BYTES = 200


class FaultyPort:
    """The public port: passes bytes to the server behind it, or breaks the connection.

    ``watch`` is shown what clients send, piece by piece.
    """

    def __init__(
        self, target_port: int, port: int, watch: Callable[[bytes], object] | None = None
    ) -> None:
        self._target = target_port
        self._watch = watch
        self._lock = threading.Lock()
        self._mode = "pass"
        self._sockets: set[socket.socket] = set()
        self.accepted = 0
        self.port = port
        self._listening = False
        self._listener = self._bind()
        self._listen()

    def set_mode(self, mode: str) -> None:
        with self._lock:
            self._mode = mode
        self._cut_all()
        if mode == "refuse":
            self._close_listener()
            # Bound and not listening: refuses, and nobody else gets the port meanwhile.
            self._listener = self._bind()
        elif not self._listening:
            self._listen()

    def stop(self) -> None:
        self._close_listener()
        self._cut_all()

    def _bind(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = int(listener.getsockname()[1])
        return listener

    def _listen(self) -> None:
        self._listener.listen(128)
        self._listening = True
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _close_listener(self) -> None:
        self._listening = False
        # Wakes the thread in accept(), which close() alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _cut_all(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _cut(each)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._sockets.add(client)
                mode = self._mode
            if mode != "silent":
                self._connect(client, mode)

    def _connect(self, client: socket.socket, mode: str) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _cut(client)
            return
        with self._lock:
            self._sockets.add(server)
        limit = _DROP_AFTER_BYTES if mode == "drop" else None
        for way in ((client, server, limit, self._watch), (server, client, None, None)):
            threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        limit: int | None,
        watch: Callable[[bytes], object] | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while limit is None or limit > 0:
                chunk = source.recv(65536 if limit is None else limit)
                if not chunk:
                    break
                if watch is not None:
                    watch(chunk)
                target.sendall(chunk)
                if limit is not None:
                    limit -= len(chunk)
        with self._lock:
            self._sockets -= {source, target}
        _cut(source)
        _cut(target)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
