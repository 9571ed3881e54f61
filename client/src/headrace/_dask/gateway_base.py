"""What each Gateway needs before it does anything: a session, both faces, a beginning and an end."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, Self

from distributed.utils import SyncMethodMixin
from tornado.ioloop import IOLoop

from headrace._target.auth import GatewayAuth
from headrace._wire.session import Session


class GatewayBase(SyncMethodMixin):
    """Everything of `Gateway` but its constructor and its calls."""

    _session: Session

    def _begin(self, session: Session) -> None:
        self._session = session
        self._asynchronous = session.asynchronous

    @property
    def address(self) -> str:
        """Where headrace answers."""
        return self._session.target.address

    @property
    def proxy_address(self) -> str:
        """Where schedulers are reached through the proxy, as ``gateway://host:port``."""
        return self._session.target.proxy_address

    @property
    def public_address(self) -> str:
        """`address` as a web browser sees it."""
        return self._session.target.public_address

    @property
    def auth(self) -> GatewayAuth:
        """How to log in."""
        return self._session.target.auth

    @property
    def loop(self) -> IOLoop:
        """The event loop that the calls are made on."""
        return self._session.loop

    def __repr__(self) -> str:
        return f"Gateway<{self.address}>"

    def close(self) -> Any:
        """Let go of the connection. Clusters live on; `GatewayCluster` objects have connections of their own."""
        if self._session.closed or self._session.inherited:
            return _nothing() if self._asynchronous else None
        if self.asynchronous:
            return self._session.cleanup()
        if self._session.asyncio_loop.is_running():
            self.sync(self._session.cleanup, callback_timeout=5)
        self._session.stop_loop()
        return None

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("a Gateway with asynchronous=True is used in `async with`")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    def __del__(self) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is None or session.closed or session.asynchronous or session.inherited or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):  # at the end of a process its loop may be gone
            if self.asynchronous:
                session.leave_from_loop(session.cleanup())
            else:
                self.close()

    # Inside

    def sync(self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        self._session.check_process()
        return super().sync(func, *args, **kwargs)

    def _do(self, call: Callable[..., Awaitable[Any]], *args: object, **kwargs: Any) -> Any:
        """Makes a call with the connection as its first argument, and waits for it or not as `asynchronous` says."""
        asynchronous = kwargs.pop("asynchronous", None)

        async def with_connection() -> Any:
            return await call(self._session.connection, *args, **kwargs)

        return self.sync(with_connection, asynchronous=asynchronous)

    def _iterate(self, items: AsyncGenerator[tuple[str, str], None]) -> Iterator[Any]:
        """Iterates in this thread over what is generated on the loop."""
        try:
            while True:
                try:
                    yield self.sync(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            with suppress(RuntimeError):
                self.sync(items.aclose)


async def _nothing() -> None:
    pass
