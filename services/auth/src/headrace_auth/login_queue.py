"""Bounds the logins that wait for their check: a password's takes long on purpose, a token's asks another service."""

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
    """The places of one replica. A source holds some of them only, so that it cannot make others wait for long.

    `places` may be `math.inf`: then sources are bounded, each for itself.
    """

    def __init__(
        self,
        places: float = PLACES,
        of_source: int = PLACES_OF_SOURCE,
        busy: str = "many logins with passwords wait for their check",
    ) -> None:
        self._places = places
        self._of_source = of_source
        self._busy = busy
        self._held = Counter[str]()

    @contextmanager
    def place(self, source: str) -> Generator[None]:
        """Hold a place while a credential is checked; raise `TooManyRequests` if there is none."""
        if self._held.total() >= self._places or self._held[source] >= self._of_source:
            metrics.LOGINS_BUSY.inc()
            raise TooManyRequests.of(self._busy, RETRY_SECONDS)
        self._held[source] += 1
        try:
            yield
        finally:
            self._held[source] -= 1
            self._held += Counter[str]()  # drops the sources that hold none
