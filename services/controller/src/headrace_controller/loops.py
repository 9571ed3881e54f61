"""What tasks that run until cancelled, or go through thousands of clusters, have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import TypeVar

from headrace.errors import StoreUnavailable
from headrace_chassis import logs

T = TypeVar("T")
log = logs.get_logger()
_AT_ONCE = 256


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
