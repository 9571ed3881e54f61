"""Connections to Redis that lose no cancellation.

redis-py sends within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes just as the
sending is done: a loop that was told to end goes on for ever. `asyncio.timeout` does not, and needs no task a command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    _Base = AbstractConnection
else:
    _Base = object


class _Sending(_Base):
    """Before a connection class: sends with a timeout of its own task."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_pieces(command)
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("Redis takes no more commands") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"the connection to Redis broke: {error}") from error
        except BaseException:
            # Half a command may be sent: nothing can follow it.
            await self.disconnect(nowait=True)
            raise

    async def _send_pieces(self, command: bytes | str | Iterable[bytes]) -> None:
        if isinstance(command, str):
            command = command.encode()
        writer: Any = self._writer  # only there once connected
        writer.writelines([command] if isinstance(command, bytes) else command)
        await writer.drain()


def keep_cancellations(pool: ConnectionPool) -> None:
    """Makes the connections of a pool, which has none yet, of the kind that loses no cancellation."""
    pool.connection_class = type("Connection", (_Sending, pool.connection_class), {})
