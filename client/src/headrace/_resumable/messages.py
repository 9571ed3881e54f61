"""Dask's messages as bytes of a session: the number of frames, their lengths, the frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from distributed.utils import ensure_memoryview, nbytes

from headrace._resumable.records import ProtocolError
from headrace._resumable.session import Session

try:
    import numpy

    def buffer(size: int) -> memoryview:
        """Return memory to read into, not zeroed."""
        return memoryview(numpy.empty(size, "u1"))  # pyright: ignore[reportArgumentType] - it is a buffer

except ImportError:

    def buffer(size: int) -> memoryview:
        """Return memory to read into."""
        return memoryview(bytearray(size))


_COUNT = struct.Struct("!I")
_LENGTH_BYTES = 8
_MAX_FRAMES = 1 << 24
_JOINED = 1 << 14
# A large frame begins so far behind the start of its memory. Whoever copies it on, as Dask does with bytes, would else
# read and write at the same place of a page, which takes processors several times as long.
_SHIFT = 2096


def pack(frames: Sequence[bytes | bytearray | memoryview]) -> tuple[int, list[memoryview]]:
    """Return the number of bytes of a message, and the bytes. Large frames are not copied."""
    lengths = [nbytes(frame) for frame in frames]
    head = struct.pack(f"!I{len(lengths)}Q", len(lengths), *lengths)
    size = len(head) + sum(lengths)
    if size <= _JOINED:
        return size, [memoryview(b"".join([head, *frames]))]
    return size, [memoryview(head), *map(ensure_memoryview, frames)]


class MessageReader:
    """Reads messages from a session. A large frame gets memory of its own, which is filled in place."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._rest = memoryview(b"")

    async def read(self) -> tuple[int, list[memoryview]]:
        """Return the number of bytes of the next message, and its frames; raises `SessionEnded`."""
        (count,) = _COUNT.unpack(await self._take(_COUNT.size))
        if count > _MAX_FRAMES:
            raise ProtocolError(f"a message of {count} frames")
        lengths = struct.unpack(f"!{count}Q", await self._take(count * _LENGTH_BYTES))
        return sum(lengths), [await self._take(length) for length in lengths]

    async def _take(self, size: int) -> memoryview:
        if not self._rest and size:
            self._rest = await self.session.chunk(buffer)
        if size > len(self._rest):
            try:
                whole = buffer(size + _SHIFT)[_SHIFT:]
            except (MemoryError, ValueError, OverflowError):
                raise ProtocolError(f"a frame of {size} bytes, for which there is no memory") from None
            whole[: len(self._rest)] = self._rest
            await self.session.fill(whole[len(self._rest) :])
            self._rest = memoryview(b"")
            return whole
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
