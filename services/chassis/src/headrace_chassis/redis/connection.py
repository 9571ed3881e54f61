"""The connection to Redis, and what becomes of its failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from headrace.errors import StoreUnavailable
from headrace_chassis.redis.sending import keep_cancellations

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 64
# A blocking read must block for less than this.
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
# What Redis says when it is there but cannot serve, or must not write.
_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    ConnectionError,
)


def connect(url: str) -> redis.asyncio.Redis:
    """Opens a pool, lazily. Readers that block for long take a pool of their own, so that they starve nobody."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        # Only lost connections: after a time-out nobody knows what became of the command.
        retry=Retry(
            ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2, supported_errors=(exceptions.ConnectionError,)
        ),
    )
    keep_cancellations(pool)
    return redis.asyncio.Redis.from_pool(pool)


async def ping(connection: redis.asyncio.Redis) -> None:
    """Raises StoreUnavailable unless Redis answers; what a service's health depends on."""
    with store_errors():
        await cast("Awaitable[object]", connection.ping())


def as_store_unavailable(error: BaseException) -> StoreUnavailable | None:
    """Returns our error if this one means that Redis is away, else None."""
    misconfigured = isinstance(error, exceptions.ResponseError) and str(error).startswith(("MISCONF", "NOREPLICAS"))
    if not isinstance(error, _UNAVAILABLE) and not misconfigured:
        return None
    return StoreUnavailable(f"headrace's store does not answer ({error}); repeat the call in a moment")


class store_errors:  # noqa: N801 a context manager that is also a decorator, named as a function like contextlib's
    """Turns Redis being away into `StoreUnavailable`; as ``with store_errors():`` or ``@store_errors()``."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (unavailable := as_store_unavailable(error)) is not None:
            raise unavailable from error

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return await function(*args, **kwargs)

        return wrapped
