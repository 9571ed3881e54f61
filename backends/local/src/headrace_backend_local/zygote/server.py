"""The socket on which the zygote serves controllers."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace_backend_local import protocol
from headrace_backend_local.protocol import Changed, Done, Forgotten, Hello, Message, Request, Warm
from headrace_backend_local.zygote.loop import Loop

log = logging.getLogger("headrace.zygote")

_UNREAD_LIMIT = 64 * 1024 * 1024


class Connection:
    """One controller."""

    def __init__(self, loop: Loop, sock: socket.socket, server: Server) -> None:
        self._loop = loop
        self._sock = sock
        self._server = server
        self._lines = protocol.Lines()
        self._unsent = bytearray()
        self.greeted = False
        self.open = True
        loop.watch(sock, self._on_readable)

    def send(self, message: Message) -> None:
        """Sends a message now, or as soon as the controller reads."""
        if self.open:
            self._unsent += protocol.encode(message)
            self._flush()

    def done(self, request: int, error: str = "") -> None:
        """Answers a request."""
        self.send(Done(request, error))

    def close(self) -> None:
        """Ends the connection."""
        if self.open:
            self.open = False
            self._loop.release(self._sock)
            self._server.closed(self)

    def _flush(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if len(self._unsent) > _UNREAD_LIMIT:
            log.warning("disconnected a controller that does not read")
            self.close()
        else:
            self._loop.watch(self._sock, self._on_readable, self._flush if self._unsent else None)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        for line in self._lines.feed(data):
            try:
                request = protocol.decode_request(line)
            except msgspec.DecodeError as error:
                log.warning("a controller sent an invalid request: %s", error)
                self.close()
                return
            self.greeted |= isinstance(request, Hello)
            self._server.handle(self, request)


class Server:
    """Listens, and publishes messages to all controllers."""

    def __init__(self, loop: Loop, path: Path, handle: Callable[[Connection, Request], None]) -> None:
        self.handle = handle
        self.connections: set[Connection] = set()
        self._loop = loop
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(64)
        loop.watch(self._listener, self._accept)

    def publish(self, message: Changed | Forgotten | Warm) -> None:
        """Sends a message to all controllers that have been answered `Welcome`."""
        for connection in list(self.connections):
            if connection.greeted:
                connection.send(message)

    def closed(self, connection: Connection) -> None:
        """Removes a connection that has ended."""
        self.connections.discard(connection)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.getuid():
            sock.close()
            return
        sock.setblocking(False)
        self.connections.add(Connection(self._loop, sock, self))
