"""One read from Redis for all callers that need it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Coalesced(Generic[T]):
    """Shares answers among callers. Each gets one that was asked for after it had called."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: asyncio.Future[T] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self) -> T:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._asking = self._asking or asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._next)

    async def _ask_all(self) -> None:
        try:
            while (answer := self._next) is not None:
                self._next = None
                await self._answer(answer)
        finally:
            self._asking = None

    async def _answer(self, answer: asyncio.Future[T]) -> None:
        try:
            answer.set_result(await self._ask())
        except Exception as error:  # noqa: BLE001 it is for those who ask
            answer.set_exception(error)
            answer.exception()  # all who asked may have gone
        except asyncio.CancelledError:
            answer.cancel()
            raise
