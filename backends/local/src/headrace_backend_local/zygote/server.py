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
from headrace_backend_local.protocol import Changed, Done, Forgotten, Hello, Message, Request, Start, Warm
from headrace_backend_local.zygote.loop import Loop

log = logging.getLogger("headrace.zygote")

# Called with the descriptors of the files that came with a request; the loop keeps them.
Handle = Callable[["Connection", Request, list[int]], None]

_UNREAD_LIMIT = 64 * 1024 * 1024


class Connection:
    """One controller."""

    def __init__(self, loop: Loop, sock: socket.socket, server: Server) -> None:
        self._loop = loop
        self._sock = sock
        self._server = server
        self._lines = protocol.Lines()
        self._files: list[int] = []
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
            for descriptor in self._files:
                self._loop.discard(descriptor)
            self._server.closed(self)

    def _take_files(self, count: int) -> list[int]:
        """Returns the next of the files that came with requests."""
        if len(self._files) < count:
            raise ValueError("files are missing")
        taken, self._files = self._files[:count], self._files[count:]
        return taken

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
            data, files, _, _ = socket.recv_fds(self._sock, 1 << 16, protocol.MOST_FILES, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", list[int]()
        for descriptor in files:
            self._loop.keep(descriptor)
            self._files.append(descriptor)
        if not data:
            self.close()
            return
        for line in self._lines.feed(data):
            if not self.open:  # an answer found nobody, and the files of what follows are closed
                return
            try:
                request = protocol.decode_request(line)
                files = self._take_files(len(request.specs)) if isinstance(request, Start) else []
            except (msgspec.DecodeError, ValueError) as error:
                log.warning("a controller sent an invalid request: %s", error)
                self.close()
                return
            self.greeted |= isinstance(request, Hello)
            self._server.handle(self, request, files)


class Server:
    """Listens, and publishes messages to all controllers."""

    def __init__(self, loop: Loop, path: Path, handle: Handle) -> None:
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
