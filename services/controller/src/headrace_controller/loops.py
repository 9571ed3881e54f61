"""What tasks that run until cancelled have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

from headrace.errors import StoreUnavailable
from headrace_chassis import logs

log = logs.get_logger()


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
