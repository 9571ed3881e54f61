"""The queue: which clusters may get room now, and in which order. Clusters enter and leave it with their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import cast

from headrace_controller.model import ClusterId, UserId
from headrace_controller.store.connection import Connection, plain_script

_next_freed = plain_script("next_freed")

LOOK_SECONDS = 2
"""Time for which one replica alone looks through the queue of a subject; then another may."""


@dataclass(frozen=True, slots=True)
class Freed:
    """A subject that has got room, for one replica to look through its queue."""

    subject: str
    token: bytes


class Queue:
    """Reads the queue, and says what is to be looked through."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def next_freed(self, before: Freed | None = None) -> Freed | None:
        """Returns a subject that has got room, if there is one. The queue of the one before was looked through."""
        ask = {"seconds": LOOK_SECONDS, "done": [before.subject, before.token.decode()] if before else None}
        answer = await self._connection.run(_next_freed, [self._connection.keys.queue("freed")], ask)
        return Freed(answer[0].decode(), answer[1]) if answer else None

    async def waiting(self, subject: str, after: float = -inf, number: int = 100) -> dict[ClusterId, float]:
        """Returns clusters that wait for room of a subject and their turns, in this order, from after a turn on."""
        key = self._connection.keys.queue_at(subject)
        by_turn = f"({after!r}", "+inf", "BYSCORE", "LIMIT", 0, number, "WITHSCORES"
        found = await self._connection.command("ZRANGE", key, *by_turn, withscores=True)
        return {ClusterId(name.decode()): turn for name, turn in cast("list[tuple[bytes, float]]", found)}

    async def wake(self, subjects: Sequence[str]) -> None:
        """Has the queues of these subjects looked through in this order, for example because their limits changed."""
        # Long ago by Redis' clock, which decides: ours may be ahead of it.
        pairs = [part for n, subject in enumerate(subjects) for part in (n, subject)]
        if pairs:
            await self._connection.command("ZADD", self._connection.keys.queue("freed"), *pairs)

    async def lengths(self, owner: UserId) -> tuple[int, int]:
        """Returns how many clusters of an owner wait, and how many of everybody."""
        keys = self._connection.keys
        own, everybody = await self._connection.commands(("HGET", keys.queue("each"), owner), ("ZCARD", keys.queue()))
        return int(own or 0), int(everybody)

    async def place(self, cluster: ClusterId) -> int | None:
        """Returns how many are before a cluster; None if it does not wait."""
        return cast("int | None", await self._connection.command("ZRANK", self._connection.keys.queue(), cluster))
