"""A wire to a server that can be told to break: answers lost, connections cut in the middle, either way."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tests.server.support.servers import HOST


class Wire:
    """Forwards connections to a server. What breaks is counted down over connections, then all is well again.

    Args:
        address: Host and port of the server.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        #: Of so many connections the answer is not forwarded: the server did its work, and nobody learns of it.
        self.lose_answers = 0
        #: So many connections are cut after `cut_after` bytes of the answer.
        self.cut_answers = 0
        #: So many connections are cut after `cut_after` bytes of the request.
        self.cut_requests = 0
        self.cut_after = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._to, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            up = down = -1
            if self.lose_answers:
                self.lose_answers, down = self.lose_answers - 1, 0
            elif self.cut_answers:
                self.cut_answers, down = self.cut_answers - 1, self.cut_after
            elif self.cut_requests:
                self.cut_requests, up = self.cut_requests - 1, self.cut_after
            for source, sink, limit in ((client, server, up), (server, client, down)):
                threading.Thread(target=_forward, args=(source, sink, limit), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket, limit: int) -> None:
    """Forward until the source ends, or until `limit` bytes have passed and more come (-1: no limit)."""
    passed = 0
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            if 0 <= limit < passed + len(chunk):
                sink.sendall(chunk[: limit - passed])
                break
            sink.sendall(chunk)
            passed += len(chunk)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
