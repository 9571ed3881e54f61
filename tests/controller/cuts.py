"""A connection to Redis that is lost at one command, as when Redis is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    import pytest
    from redis.asyncio import Redis


def lose_connection(redis: Redis, monkeypatch: pytest.MonkeyPatch, *, command: int, executed: bool) -> None:
    """Has this command from now on fail, and all after it; with `executed`, it is its answer that is lost."""
    execute, left = redis.execute_command, command

    async def lost(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left > 0 or (left == 0 and executed):
            answer = await execute(*arguments, **options)
            if left > 0:
                return answer
        raise RedisConnectionError("the connection was lost")

    monkeypatch.setattr(redis, "execute_command", lost)
