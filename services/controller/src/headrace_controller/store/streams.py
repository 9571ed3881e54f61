"""Reading what has happened: events of a cluster, changes of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from redis.exceptions import ResponseError

from headrace.errors import ResumeTokenTooOld
from headrace_chassis.redis.connection import store_errors
from headrace_controller.model import ClusterId, Event
from headrace_controller.store.codec import unpack_change, unpack_event
from headrace_controller.store.connected import Connected
from headrace_controller.store.values import Change, reaches

_AT_ONCE = 200
_NOTHING = "0-0"
_ID = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
_Entry = tuple[bytes, Mapping[bytes, bytes]]
_Answers = tuple[list[tuple[bytes, list[_Entry]]], list[_Entry]]
_T = TypeVar("_T")


class Streams(Connected):
    """The part of the store that reads streams."""

    async def events(self, cluster: ClusterId, after: str = "", count: int = 100) -> list[Event]:
        """Returns events after that id, oldest first."""
        start = f"({after}" if after else "-"
        entries = await self._ask("XRANGE", self._keys.events(cluster), start, "+", "COUNT", count)
        return [unpack_event(fields[b"event"], entry_id) for entry_id, fields in cast("list[_Entry]", entries)]

    async def changes_head(self) -> str:
        """Returns the resume token of now."""
        return await self._head(self._keys.changes())

    async def changes(self, after: str, block: int = 0) -> list[Change]:
        """Returns changes after the token, waiting up to `block` milliseconds for one. Raises `ResumeTokenTooOld`."""
        return await self._read(self._keys.changes(), after, block, unpack_change)

    async def _head(self, stream: str) -> str:
        newest = cast("list[_Entry]", await self._ask("XREVRANGE", stream, "+", "-", "COUNT", 1))
        return newest[0][0].decode() if newest else _NOTHING

    async def _read(
        self, stream: str, after: str, block: int, unpack: Callable[[bytes, Mapping[bytes, bytes]], _T]
    ) -> list[_T]:
        if not _ID.fullmatch(after):
            raise _too_old(after)
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.xread({stream: after}, count=_AT_ONCE, block=block or None)
                # Redis looks after it has read: as long as it has this entry, it has all that followed it.
                pipeline.xrange(stream, after, after, count=1)
                answer, still_there = cast("_Answers", await pipeline.execute())
        if not still_there:
            await self._check_reach(stream, after)
        return [unpack(entry_id, fields) for _, found in answer for entry_id, fields in found]

    async def _check_reach(self, stream: str, after: str) -> None:
        """Fails unless the stream still has, and ever had, all that follows `after`."""
        try:
            info = cast("dict[str, Any]", await self._ask("XINFO STREAM", stream))
        except ResponseError:  # there is no stream yet
            first = last = _NOTHING
            whole = after == _NOTHING
        else:
            first, last = info["recorded-first-entry-id"].decode(), info["last-generated-id"].decode()
            whole = after == _NOTHING and info["entries-added"] == info["length"]
        if not whole and not (reaches(after, first) and reaches(last, after)):
            raise _too_old(after)


def _too_old(after: str) -> ResumeTokenTooOld:
    return ResumeTokenTooOld(f"the history no longer reaches back to {after}; start again without a resume token")
