"""What tasks that run until cancelled, or go through thousands of clusters, have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from headrace.errors import StoreUnavailable
from headrace_chassis import logs

T = TypeVar("T")
log = logs.get_logger()
_AT_ONCE = 256
_WRITES, _PAUSE_SECONDS = 50, 0.1


@contextmanager
def faults_logged(failure: str) -> Generator[None]:
    """Log what fails in a step of a loop that must go on: a store that is away in one line, anything else in full."""
    try:
        yield
    except StoreUnavailable as error:
        log.warning(failure, error=str(error))
    except Exception:  # logged in full
        log.exception(failure)


async def wait(news: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or until the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield all items; after each 256, other calls get their turn."""
    for n, item in enumerate(items, 1):
        yield item
        if n % _AT_ONCE == 0:
            await asyncio.sleep(0)


async def spread(write: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
    """Write each item, at most 500 a second, so that users' writes have room beside them.

    An item that fails keeps no other from being written; the first failure is raised at the end, or at once if the
    store is away.
    """
    failures: list[BaseException] = []
    for start in range(0, len(items), _WRITES):
        answers = await asyncio.gather(*map(write, items[start : start + _WRITES]), return_exceptions=True)
        failures += [answer for answer in answers if isinstance(answer, BaseException)]
        if any(isinstance(failure, StoreUnavailable) for failure in failures):
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    if failures:
        raise failures[0]
