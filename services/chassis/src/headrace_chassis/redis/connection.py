"""The connection to Redis, and how its errors are translated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis import CredentialProvider, exceptions
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from headrace.errors import StoreUnavailable
from headrace_chassis import metrics
from headrace_chassis.certificate_validity import of_authorities, of_chain, report

P = ParamSpec("P")
T = TypeVar("T")
_Base = AbstractConnection if TYPE_CHECKING else object

CONNECTIONS = 64
# A blocking read must block for less than this.
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0


class _Cancellable(_Base):
    """Mixed into a connection class: sends within `asyncio.timeout`.

    redis-py sends within `asyncio.wait_for`, which before Python 3.12 discards a cancellation that arrives as the
    sending completes; a loop over commands then never ends (ADR 6 has the figure).
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        limit, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise exceptions.TimeoutError("Redis accepts no more commands") from None
        finally:
            self.socket_timeout = limit


class _RenewedAuthority(SSLConnection):
    """Reads the certificate authority each time it connects: redis-py's own keeps what it read first."""

    def _connection_arguments(self) -> Mapping[str, object]:
        self.ssl_context.context = None
        return super()._connection_arguments()


class _PasswordFile(CredentialProvider):
    """Reads the password for each new connection, so that a changed one needs no restart."""

    def __init__(self, username: str, file: Path) -> None:
        self._username = username
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise exceptions.AuthenticationError(f"the password file {self._file} cannot be read: {error}") from None
        if not password:
            raise exceptions.AuthenticationError(f"the password file {self._file} is empty")
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def connect(url: str, password_file: Path | None = None) -> redis.asyncio.Redis:
    """Return a pool that connects when it is used. Readers that block for long need a pool of their own.

    With a password file the address has no password, and may have a user.
    """
    credentials = None
    if password_file:
        url, username = _without_user(url)
        credentials = _PasswordFile(username, password_file)
    pool = BlockingConnectionPool.from_url(
        url,
        credential_provider=credentials,
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        # Only lost connections: after a time-out it is unknown whether the command was executed.
        retry=Retry(
            ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2, supported_errors=(exceptions.ConnectionError,)
        ),
    )
    kind = pool.connection_class
    if kind is SSLConnection:
        kind = _RenewedAuthority
        _report_certificates(pool.connection_kwargs)
    pool.connection_class = type("Connection", (_Cancellable, kind), {})
    return redis.asyncio.Redis.from_pool(pool)


def _report_certificates(arguments: Mapping[str, object]) -> None:
    """Show in the metrics the files that the address names; each new connection reads them."""
    if authority := arguments.get("ssl_ca_certs"):
        report("redis_authority", lambda: of_authorities(Path(str(authority)).read_bytes()))
    if certificate := arguments.get("ssl_certfile"):
        report("redis", lambda: of_chain(Path(str(certificate)).read_bytes()))


def _without_user(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    username, at, host = parts.netloc.rpartition("@")
    return (url.replace(parts.netloc, host, 1), unquote(username)) if at else (url, "")


async def ping(connection: redis.asyncio.Redis) -> None:
    """Raise StoreUnavailable unless Redis answers."""
    with store_errors():
        await cast("Awaitable[object]", connection.ping())


def as_store_unavailable(error: BaseException) -> StoreUnavailable | None:
    """Return our error if this one is Redis' or its client's, else None.

    Whatever Redis answers, its caller can only try again: it loads its file, runs a long script, has no memory, is a
    replica, or has a key of another type than ours.
    """
    if not isinstance(error, exceptions.RedisError | ConnectionError):
        return None
    if isinstance(error, exceptions.OutOfMemoryError):
        return StoreUnavailable(
            f"headrace's store is full ({error}): clusters compute on and can be stopped, and nothing new is accepted; "
            "stop clusters that are not needed, or ask the administrator to give the store more memory, and repeat it"
        )
    return StoreUnavailable(
        f"headrace's store does not answer as it should ({error}); nothing else is wrong with this request, repeat it "
        "in a moment"
    )


class store_errors:  # noqa: N801 a context manager that is also a decorator, named as a function like contextlib's
    """Raises `StoreUnavailable` for every error of Redis; as ``with store_errors():`` or ``@store_errors()``."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (unavailable := as_store_unavailable(error)) is not None:
            metrics.REDIS_ERRORS.inc()
            raise unavailable from error

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return await function(*args, **kwargs)

        return wrapped
