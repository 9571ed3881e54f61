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
        self._waiting: list[asyncio.Future[T]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._asking = self._asking or asyncio.create_task(self._ask_all())
        return await answer

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
        finally:
            self._asking = None

    async def _answer(self, waiting: list[asyncio.Future[T]]) -> None:
        try:
            answer = await self._ask()
        except Exception as error:  # noqa: BLE001 it is for those who ask
            for future in _undone(waiting):
                future.set_exception(error)
        except asyncio.CancelledError:
            for future in waiting:
                future.cancel()
            raise
        else:
            for future in _undone(waiting):
                future.set_result(answer)


def _undone(futures: list[asyncio.Future[T]]) -> list[asyncio.Future[T]]:
    """Those of callers who have not gone."""
    return [future for future in futures if not future.done()]
