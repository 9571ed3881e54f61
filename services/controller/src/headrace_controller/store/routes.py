"""Where clusters are reached, and what readers of routes have in use. The scripts of records write routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from headrace_chassis.routes import Route
from headrace_controller.store.codec import pack_same, text, unpack_acknowledgement, unpack_route
from headrace_controller.store.connection import Connection, plain_script
from headrace_controller.store.set_aside import readable
from headrace_controller.store.streams import Stream
from headrace_controller.store.values import Acknowledgement, ChangeKind, RouteLogEntry

_acknowledge = plain_script("acknowledge")
_readers = plain_script("readers")


READER_SECONDS = 6.0
"""Seconds for which a reader of routes counts without a sign of life: clusters wait no longer for a proxy that died."""


class Routes:
    """The routes and their readers. `log` is the stream of their changes."""

    def __init__(self, connection: Connection, log: Stream[RouteLogEntry]) -> None:
        self._connection = connection
        self._keys = connection.keys
        self.log = log

    async def all(self) -> tuple[str, Sequence[Route]]:
        """Returns all routes and their version."""
        newest, routes = await self._connection.commands(
            ("XREVRANGE", self._keys.route_log(), "+", "-", "COUNT", 1), ("HVALS", self._keys.routes()), atomically=True
        )
        version = newest[0][0].decode() if newest else "0-0"
        return version, [route for packed in routes if (route := readable(unpack_route, packed))]

    async def register(self, reader: str, seconds: float) -> None:
        """Makes clusters wait for a reader for some seconds from now; keeps what it has acknowledged."""
        await self._acknowledge(reader, Acknowledgement(version=""), seconds, first=True)

    async def acknowledge(self, reader: str, in_use: Acknowledgement, seconds: float) -> None:
        """Notes what a reader has in use. An ACKNOWLEDGED change announces it if it is new."""
        await self._acknowledge(reader, in_use, seconds, first=False)

    async def redial(self) -> None:
        """Announces by a REDIAL change that a proxy is about to close the connections of Dask clients."""
        entry = ("kind", ChangeKind.REDIAL, "cluster", "", "owner", "", "revision", 0)
        await self._connection.command("XADD", self._keys.changes(), "*", *entry)

    async def readers(self) -> Mapping[str, Acknowledgement]:
        """Returns what each living reader has in use."""
        keys = [self._keys.readers(), self._keys.acknowledged()]
        fields = cast("list[bytes]", await self._connection.run(_readers, keys, {"longest": READER_SECONDS}))
        return {
            reader.decode(errors="replace"): in_use
            for reader, packed in zip(fields[::2], fields[1::2], strict=True)
            if (in_use := readable(unpack_acknowledgement, packed))
        }

    async def _acknowledge(self, reader: str, in_use: Acknowledgement, seconds: float, *, first: bool) -> None:
        keys = [self._keys.readers(), self._keys.acknowledged(), self._keys.changes()]
        ask = {"reader": reader, "in_use": text(pack_same(in_use)), "seconds": seconds, "first": first}
        await self._connection.run(_acknowledge, keys, ask)
