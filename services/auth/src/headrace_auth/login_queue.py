"""Bounds the password logins that wait for their check, which takes long on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from headrace.errors import TooManyRequests
from headrace_auth import metrics

PLACES = 16
PLACES_OF_SOURCE = 8
RETRY_SECONDS = 2.0


class LoginQueue:
    """The places of one replica. A source holds some of them only, so that it cannot make others wait for long."""

    def __init__(self) -> None:
        self._held = Counter[str]()

    @contextmanager
    def place(self, source: str) -> Generator[None]:
        """Hold a place while a password is checked; raise `TooManyRequests` if there is none."""
        if self._held.total() >= PLACES or self._held[source] >= PLACES_OF_SOURCE:
            metrics.LOGINS_BUSY.inc()
            raise TooManyRequests.of("many logins with passwords wait for their check", RETRY_SECONDS)
        self._held[source] += 1
        try:
            yield
        finally:
            self._held[source] -= 1
            self._held += Counter[str]()  # drops the sources that hold none
