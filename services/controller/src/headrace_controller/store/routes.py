"""Where clusters are reached, and which readers have taken that up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from headrace_chassis.redis.lua import load
from headrace_controller.model import ClusterId
from headrace_controller.store.codec import pack, unpack_acknowledgement, unpack_route, unpack_route_change
from headrace_controller.store.streams import Streams
from headrace_controller.store.values import Acknowledgement, RouteChange, RouteRecord

_acknowledge = load("headrace_controller", "acknowledge")
_acknowledged = load("headrace_controller", "acknowledged")


class Routes(Streams):
    """The part of the store that keeps routes; `save_report` and `save_status` write them."""

    async def routes(self) -> tuple[str, list[RouteRecord]]:
        """Returns all routes and their version."""
        version, routes = await self._ask_all(
            ("XREVRANGE", self._keys.route_log(), "+", "-", "COUNT", 1), ("HVALS", self._keys.routes()), atomically=True
        )
        return (version[0][0].decode() if version else "0-0"), [unpack_route(route) for route in routes]

    async def route_changes(self, after: str, block: int = 0) -> list[RouteChange]:
        """Returns changes after that version, as `changes` does. Raises `ResumeTokenTooOld`."""
        return await self._read(self._keys.route_log(), after, block, unpack_route_change)

    async def register(self, reader: str, ttl: float) -> None:
        """Makes clusters wait for this reader until `ttl` seconds from now; keeps what it has acknowledged."""
        await self._acknowledge(reader, Acknowledgement(version=""), ttl, only_first=True)

    async def acknowledge(self, reader: str, version: str, rejected: Sequence[ClusterId], ttl: float) -> None:
        """Notes what a reader has in use, for `ttl` seconds from now; an ACKNOWLEDGED change tells the others."""
        await self._acknowledge(reader, Acknowledgement(version=version, rejected=frozenset(rejected)), ttl)

    async def acknowledged(self) -> Mapping[str, Acknowledgement]:
        """Returns what each live reader has in use."""
        answer = await _acknowledged(self._redis, [self._keys.readers(), self._keys.acknowledged()])
        fields = cast("list[bytes]", answer)
        return {
            reader.decode(): unpack_acknowledgement(packed)
            for reader, packed in zip(fields[::2], fields[1::2], strict=True)
        }

    async def _acknowledge(self, reader: str, in_use: Acknowledgement, ttl: float, *, only_first: bool = False) -> None:
        keys = [self._keys.readers(), self._keys.acknowledged(), self._keys.changes()]
        await _acknowledge(self._redis, keys, [reader, pack(in_use), ttl, int(only_first)])
