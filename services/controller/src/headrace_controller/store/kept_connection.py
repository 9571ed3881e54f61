"""A connection to Redis that is kept for one caller, for the one read that nearly every call of the API waits for.

redis-py takes a connection out of its pool for each command, guards it and watches for retries. Without that, asking
for the latest revision takes 0.11 ms of CPU instead of 0.19.
"""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from headrace_chassis.redis.lua import Argument


class KeptConnection:
    """Sends one command at a time; the caller sees to that. Only for commands that read: they may be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection: AbstractConnection | None = None

    async def ask(self, *command: Argument) -> Any:
        """Returns the answer as it comes over the wire, or raises what redis-py raises."""
        try:
            return await self._exchange(command)
        except RedisConnectionError:
            return await self._exchange(command)  # the connection was lost since the last command

    async def _exchange(self, command: tuple[Argument, ...]) -> Any:
        if (connection := self._connection) is None:
            connection = self._connection = cast("Any", await self._pool.get_connection())
        try:
            await connection.send_packed_command(connection.pack_command(*command))
            return await connection.read_response()
        except BaseException:
            # The answer may still be under way, and would be taken for that of the next command.
            await connection.disconnect(nowait=True)
            raise
