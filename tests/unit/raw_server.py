"""A server that sends given bytes: what HTTP allows and what it does not."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

Behave = Callable[[socket.socket], None]


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", "content-type: application/json", *headers, "", "")).encode()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return head(f"content-length: {len(body)}", *headers, status=status) + body


class RawServer:
    """Listens on loopback; each connection is handed to `behave` once its first request has come.

    Attributes:
        url: Its address, http.
        heard: The first request of each connection.
        ended: Set when it stops; what drips waits for it.
    """

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.heard: list[bytes] = []
        self.ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> RawServer:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.ended.set()
        # A thread that accepts does not notice that its socket is closed.
        with suppress(OSError):
            socket.create_connection(self._socket.getsockname(), 1).close()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        while not self.ended.is_set():
            connection, _ = self._socket.accept()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(10)
            request = connection.recv(65536)
            if request:
                self.heard.append(request)
                self.behave(connection)

    def drip(self, connection: socket.socket, piece: bytes) -> None:
        """Send something again and again, slowly, as long as somebody listens."""
        while not self.ended.wait(0.01):
            connection.sendall(piece)


def endless(connection: socket.socket) -> None:
    """Answer with a body that does not end."""
    connection.sendall(head())
    flood(connection, b" " * 65_536)


def flood(connection: socket.socket, piece: bytes) -> None:
    """Send something again and again, fast, as long as somebody listens."""
    while True:
        connection.sendall(piece)


def wait_for_the_end(connection: socket.socket) -> None:
    """Send nothing until the other side has gone."""
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    """Break off as a crashed machine does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
