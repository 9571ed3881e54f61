"""A real connection to Redis whose commands can be made to fail, as Redis itself or its client has them fail."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from typing_extensions import override

REDIS_ERRORS: list[exceptions.RedisError] = [
    exceptions.ResponseError("BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
    exceptions.ResponseError("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    exceptions.BusyLoadingError("Valkey is loading the dataset in memory"),
    exceptions.ResponseError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    exceptions.ReadOnlyError("You can't write against a read only replica."),
    exceptions.AuthenticationError("Authentication required."),
    exceptions.NoPermissionError("this user has no permissions to run the 'xread' command"),
    exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    exceptions.ResponseError("MISCONF Valkey is configured to save snapshots, but is unable to persist to disk."),
    exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    exceptions.ResponseError("a message that this test has made up"),
    exceptions.InvalidResponse("Protocol Error: b'?'"),
    exceptions.ConnectionError("Connection closed by server."),
    exceptions.TimeoutError("Timeout reading from socket"),
]


def error_name(error: Exception) -> str:
    """A name for a test's parameter."""
    return str(error).split()[0]


class FaultyRedis(Redis):
    """A connection to the same Redis as another one. While `failing`, each command raises; `failed` counts them."""

    error: exceptions.RedisError | None = None
    failed = 0

    @classmethod
    def of(cls, redis: Redis) -> FaultyRedis:
        """Shares the connections of another one."""
        return cls(connection_pool=redis.connection_pool)

    @contextmanager
    def failing(self, error: exceptions.RedisError) -> Generator[Callable[[], bool]]:
        """Has each command fail; yields whether one has failed since."""
        self.error, before = error, self.failed
        try:
            yield lambda: self.failed > before
        finally:
            self.error = None

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self._check()
        return await super().execute_command(*args, **options)

    @override
    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        self._check()
        return super().pipeline(transaction, shard_hint)

    def _check(self) -> None:
        if self.error is not None:
            self.failed += 1
            raise self.error
