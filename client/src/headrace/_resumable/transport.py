"""One TLS connection of a session."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from distributed.comm.core import CommClosedError
from distributed.comm.tcp import TLS
from tornado.iostream import IOStream

from headrace._resumable.records import ALPN, HEADER_BYTES, Header, Kind

_JOINED = 1 << 17


def speaks_resumable(comm: TLS) -> bool:
    """Return whether both ends of a connection agreed on the protocol."""
    socket = comm.stream.socket if comm.stream is not None else None
    return isinstance(socket, ssl.SSLSocket) and socket.selected_alpn_protocol() == ALPN


class Transport:
    """Reads and writes records. Errors of the connection are OSErrors.

    Attributes
    ----------
    left
        Bytes of the present DATA record that were not read yet.
    in_flight
        Bytes that wait for the operating system to take them.
    """

    def __init__(self, comm: TLS) -> None:
        if comm.stream is None:
            raise CommClosedError("the connection closed as it was made")
        self._comm = comm
        self._stream: IOStream = comm.stream
        self.left = 0
        self.in_flight = 0

    async def read_header(self) -> Header:
        """Return the next header."""
        return Header.unpack(await self._stream.read_bytes(HEADER_BYTES))

    async def read(self, size: int) -> bytes:
        """Return bytes of a record that is not DATA."""
        return await self._stream.read_bytes(size) if size else b""

    async def read_into(self, view: memoryview) -> None:
        """Fill `view`, with bytes of the present DATA record."""
        await self._stream.read_into(view)  # pyright: ignore[reportArgumentType] - any writable buffer does
        self.left -= view.nbytes

    def write(self, data: bytes) -> None:
        """Send a whole record."""
        self._stream.write(data)

    def write_data(self, received: int, size: int, views: Sequence[memoryview], taken: Callable[[], None]) -> None:
        """Send a DATA record; `taken` is called when the operating system took it, if it did not at once."""
        # The peer wakes up once for all of a small record, and not for the header alone of a large one.
        first, rest = _split(views, _JOINED)
        written = self._stream.write(b"".join([Header(Kind.DATA, size, received).pack(), *first]))
        for view in rest:
            written = self._stream.write(view)
        if written.done():
            return
        self.in_flight += size

        def done(_: object) -> None:
            self.in_flight -= size
            taken()

        written.add_done_callback(done)

    def abort(self) -> None:
        """Close the connection at once."""
        self._comm.abort()


def _split(views: Sequence[memoryview], size: int) -> tuple[Sequence[memoryview], Sequence[memoryview]]:
    """Return the first bytes of `views`, `size` of them, and the rest."""
    for index, view in enumerate(views):
        if view.nbytes > size:
            return [*views[:index], view[:size]], [view[size:], *views[index + 1 :]]
        size -= view.nbytes
    return views, ()
