"""A way to the API server that a test can break: it passes bytes on, cuts connections, and refuses new ones."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Generator

_RECEIVE = 1 << 16


class Breakable(socketserver.ThreadingTCPServer):
    """Passes connections of this machine on to a target. TLS goes through unread."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100  # a controller has many watches, which all come back at once

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target = target
        self.broken = False
        self.answers = threading.Event()
        self.answers.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def cut(self) -> int:
        """Ends all connections as a restart of the other side does; returns how many there were."""
        with self._lock:
            cut = list(self._open)
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return len(cut)

    @contextlib.contextmanager
    def away(self) -> Generator[None]:
        """The target does not answer meanwhile."""
        self.broken = True
        self.cut()
        try:
            yield
        finally:
            self.broken = False

    @contextlib.contextmanager
    def unanswered(self) -> Generator[None]:
        """The target hears everything, and its answers arrive only afterwards. TLS shakes hands nevertheless."""
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()

    @contextlib.contextmanager
    def counted(self, connection: socket.socket) -> Generator[None]:
        """Cuts this connection too."""
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Breakable)
        if self.server.broken:
            return
        with (
            socket.create_connection(self.server.target) as there,
            self.server.counted(self.request),
            contextlib.suppress(OSError),
        ):
            if self.server.broken:  # since the look above: `cut` did not find this connection
                return
            talk = _Talk(self.server.answers)
            back = threading.Thread(target=_pass_on, args=(there, self.request, talk.answer), daemon=True)
            back.start()
            _pass_on(self.request, there, talk.ask)
            back.join()


class _Talk:
    """What has been said on a connection: questions follow the other side's part of the handshake."""

    def __init__(self, answers: threading.Event) -> None:
        self._answers = answers
        self._greeted = self._asked = False

    def ask(self) -> None:
        self._asked = self._asked or self._greeted

    def answer(self) -> None:
        if self._asked:
            self._answers.wait()
        self._greeted = True


def _pass_on(source: socket.socket, target: socket.socket, before: Callable[[], None]) -> None:
    """Passes bytes on, each time after `before`, until one side ends; then ends both."""
    try:
        while received := source.recv(_RECEIVE):
            before()
            target.sendall(received)
    except OSError:
        pass
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def breakable(target: tuple[str, int]) -> Generator[Breakable]:
    with Breakable(target) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.cut()
