"""A stream of entries in Redis, read in pieces from any position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

from redis.asyncio import Redis

from headrace.errors import ResumeTokenTooOld
from headrace_chassis.redis.connection import store_errors
from headrace_controller.store.set_aside import readable
from headrace_controller.store.values import is_version

_AT_ONCE = 200
_BEGINNING = "0-0"
_FIRST_ENTRY: dict[Any, Any] = {"kind": "first"}  # which no reader knows
_RawEntry = tuple[bytes, Mapping[bytes, bytes]]


class Entry(Protocol):
    """What a stream consists of; the id is its position."""

    @property
    def id(self) -> str: ...


E = TypeVar("E", bound=Entry)


class Stream(Generic[E]):
    """One stream.

    Parameters
    ----------
    waiting
        Connection for reads that block.
    unpack
        Reads an entry from its id and fields; None: this release does not know such entries.
    """

    def __init__(
        self, redis: Redis, waiting: Redis, key: str, unpack: Callable[[bytes, Mapping[bytes, bytes]], E | None]
    ) -> None:
        self._redis = redis
        self._waiting = waiting
        self._key = key
        self._unpack = unpack

    async def head(self) -> str:
        """Returns the position of now: that of an entry, which is gone if Redis is emptied later."""
        with store_errors():
            newest = cast("list[_RawEntry]", await self._redis.xrevrange(self._key, count=1))
            entry = newest[0][0] if newest else cast("bytes", await self._redis.xadd(self._key, _FIRST_ENTRY))
        return entry.decode()

    async def read(self, after: str) -> tuple[list[E], str]:
        """Returns entries after a position, and the position that they reach. Raises `ResumeTokenTooOld`."""
        return await self._read(self._redis, after, None)

    async def wait(self, after: str, milliseconds: int) -> tuple[list[E], str]:
        """As `read`, but waits for an entry."""
        return await self._read(self._waiting, after, milliseconds)

    async def _read(self, redis: Redis, after: str, block: int | None) -> tuple[list[E], str]:
        if not is_version(after):
            raise _too_old(after)
        with store_errors():
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.xread({self._key: after}, count=_AT_ONCE, block=block)
                # Asked after the read: as long as Redis has this entry, it has all that followed it.
                pipeline.xrange(self._key, after, after, count=1)
                answer, still_there = cast("tuple[Any, list[_RawEntry]]", await pipeline.execute())
        if not still_there:
            await self._check_complete(after)
        found = [entry for _, entries in answer for entry in entries] if answer else []
        known = [entry for entry_id, fields in found if (entry := readable(self._unpack, entry_id, fields))]
        return known, found[-1][0].decode() if found else after

    async def _check_complete(self, after: str) -> None:
        """Fails unless the stream still has all that it ever had, and `after` is its beginning."""
        if after == _BEGINNING:
            with store_errors():
                if not await self._redis.exists(self._key):
                    return
                info = await self._redis.xinfo_stream(self._key)
            if info["entries-added"] == info["length"]:
                return
        raise _too_old(after)


def _too_old(after: str) -> ResumeTokenTooOld:
    return ResumeTokenTooOld(f"the history no longer reaches back to {after}; start again without a resume token")
