"""A load balancer before several replicas, as a deployment has one; here a unix socket before unix sockets."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast


class _Balancer(socketserver.ThreadingUnixStreamServer):
    def __init__(self, path: Path, targets: Sequence[Path]) -> None:
        self.targets = targets
        super().__init__(str(path), _Connection)

    def connect(self) -> socket.socket | None:
        """Connects to the first that accepts; to one that was killed, nobody does."""
        for target in self.targets:
            sock = socket.socket(socket.AF_UNIX)
            if sock.connect_ex(str(target)) == 0:
                return sock
            sock.close()
        return None


class _Connection(socketserver.BaseRequestHandler):
    request: socket.socket

    def handle(self) -> None:
        if upstream := cast("_Balancer", self.server).connect():
            with upstream, contextlib.suppress(OSError):
                _pass_on(self.request, upstream)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Passes on in both directions, until one of them closes."""
    peers = {one: other, other: one}
    while True:
        for sock in select.select(list(peers), [], [])[0]:
            if not (data := sock.recv(1 << 16)):
                return
            peers[sock].sendall(data)


@contextmanager
def balancer(path: Path, targets: Sequence[Path]) -> Generator[None]:
    """Passes each connection on to the first of the targets that accepts; ends when all connections have."""
    with _Balancer(path, targets) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
    path.unlink()
