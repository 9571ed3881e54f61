"""What Envoy does for schedulers, in miniature: passes a TLS connection on by the server name in its hello."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Mapping
from typing import cast

from tests.held_port import held_port


class SniProxy:
    """Listens on a port of its own; `routes` is server name -> port, and may change at any time."""

    def __init__(self, routes: Mapping[str, int]) -> None:
        self._routes = routes
        self._held = held_port()
        self.port: int = self._held.getsockname()[1]
        self.passed: list[str] = []
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        self.come_back()

    def go_away(self) -> None:
        """Breaks all connections and takes no more."""
        self._away = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def come_back(self) -> None:
        """Listens, at the same port as before."""
        self._away = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """Breaks all connections, also those that have said nothing yet."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.go_away()
        for thread in self._threads:
            thread.join(5)
        self._held.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._ends.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                hello = connection.recv(4096, socket.MSG_PEEK)
            except ConnectionResetError:
                return
            route = next(((name, port) for name, port in list(self._routes.items()) if name.encode() in hello), None)
            if route is None:
                return
            self.passed.append(route[0])
            try:
                scheduler = socket.create_connection(("127.0.0.1", route[1]))
            except ConnectionRefusedError:  # it ends
                return
            with scheduler:
                self._ends.append(scheduler)
                if not self._away:
                    _pump(connection, scheduler)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                try:
                    data = cast("socket.socket", key.fileobj).recv(1 << 16)
                    key.data.sendall(data)
                except OSError:
                    return
                if not data:
                    return
