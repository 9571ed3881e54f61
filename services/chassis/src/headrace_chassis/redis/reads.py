"""Small reads of many calls, on one connection that is kept.

Each call of the API looks up a revision or a version. redis-py takes a connection out of the pool for each command,
guards it and watches for retries; without that, and with commands that come together going together, a look-up costs
a third: it was a quarter of the time of a GET.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Command = Sequence[str | bytes | int | float]


class Reads:
    """Sends commands that only read; those that come while others are under way go together.

    Answers are as they come over the wire, in bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection: AbstractConnection | None = None
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, *command: str | bytes | float) -> Any:
        """Returns the answer to a command, or raises what redis-py raises."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting())
        return await answer

    async def _send_waiting(self) -> None:
        try:
            while batch := self._waiting:
                self._waiting = []
                await self._send(batch)
        finally:
            self._sending = None

    async def _send(self, batch: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        try:
            found = await self._answers([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 it is for those who ask
            found = [error] * len(batch)
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        for (_, answer), one in zip(batch, found, strict=True):
            _give(answer, one)

    async def _answers(self, commands: list[Command]) -> list[Any]:
        try:
            return await self._exchange(commands)
        except RedisConnectionError:
            return await self._exchange(commands)  # the connection was lost since; reads may be repeated

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        if (connection := self._connection) is None:
            connection = self._connection = cast("Any", await self._pool.get_connection())
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await _read(connection) for _ in commands]
        except BaseException:
            # Answers may still be under way, and would be taken for those of the next commands.
            await connection.disconnect(nowait=True)
            raise


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _give(answer: asyncio.Future[Any], found: object) -> None:
    if answer.done():
        return  # who asked has gone
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
