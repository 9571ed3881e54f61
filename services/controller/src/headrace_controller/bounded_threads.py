"""Calls of others' code: each in a thread, with a time limit, and not too many at once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from headrace.errors import InternalError, TooManyRequests

T = TypeVar("T")

MAX_THREADS = 16
_POLL_SECONDS = 0.1


class _TooLong(BaseException):
    """Ends a call that has taken too long, unless it waits outside of Python."""


class BoundedThreads:
    """Runs calls, one at a time for each user, so that nobody waits because of another's call.

    Parameters
    ----------
    what
        What is called, for messages.
    seconds
        Time limit of a call, its wait for a thread included.
    """

    def __init__(self, what: str, seconds: float) -> None:
        self._what = what
        self._seconds = seconds
        # By user: done when their call has ended. One that takes too long stays until its thread has ended.
        self._running: dict[str, asyncio.Future[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, user: str, call: Callable[[], T]) -> T:
        """Return the result of a call, or raise what it raises.

        Raises
        ------
        InternalError
            It took too long.
        TooManyRequests
            Earlier calls still run: of this user, or too many of others.
        """
        end = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(end):
                while blocking := self._blocking(user):
                    await asyncio.wait(blocking, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise TooManyRequests.of(f"{self._what} is busy with earlier calls", self._seconds) from None
        return await self._run(user, call, end)

    def _blocking(self, user: str) -> list[asyncio.Future[None]]:
        if user in self._running:
            return [self._running[user]]
        return list(self._running.values()) if len(self._running) >= MAX_THREADS else []

    async def _run(self, user: str, call: Callable[[], T], end: float) -> T:
        loop = asyncio.get_running_loop()
        ended = self._running[user] = loop.create_future()
        result: asyncio.Future[T] = loop.create_future()
        begun = threading.Event()
        # A daemon: one that never ends must not keep the controller from ending.
        thread = threading.Thread(target=_call, args=(call, loop, result, begun), name=self._what, daemon=True)
        thread.start()
        try:
            async with asyncio.timeout_at(end):
                return await asyncio.shield(result)
        except TimeoutError:
            text = f"{self._what} did not answer within {self._seconds:g} s; tell your administrator"
            raise InternalError(text) from None
        finally:
            if result.done():
                self._end(user, ended)
            else:
                result.cancel()
                ending = asyncio.create_task(self._wait_for_end(user, ended, thread, begun))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)

    async def _wait_for_end(
        self, user: str, ended: asyncio.Future[None], thread: threading.Thread, begun: threading.Event
    ) -> None:
        while thread.is_alive():
            if begun.is_set():  # before that nothing would catch it
                # A loop without end would slow the controller down for ever.
                ident, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TooLong)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)
            await asyncio.sleep(_POLL_SECONDS)
        self._end(user, ended)

    def _end(self, user: str, ended: asyncio.Future[None]) -> None:
        del self._running[user]
        ended.set_result(None)


def _call(
    call: Callable[[], T], loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], begun: threading.Event
) -> None:
    # The loop may be closed meanwhile.
    with contextlib.suppress(RuntimeError, _TooLong):
        begun.set()
        try:
            value = call()
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            loop.call_soon_threadsafe(_unless_done, result, partial(result.set_exception, error))
        else:
            loop.call_soon_threadsafe(_unless_done, result, partial(result.set_result, value))


def _unless_done(result: asyncio.Future[T], finish: Callable[[], None]) -> None:
    if not result.done():
        finish()
