"""What a client knows about its way to one scheduler: whether it is interrupted, and since when."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

logger = logging.getLogger("headrace.connection")

# Shorter interruptions are not worth a word.
_QUIET_SECONDS = 1.0


class Absences:
    """The sessions with one scheduler that have no connection now.

    Parameters
    ----------
    cluster
        Returns the name of the cluster, for messages.
    grace
        Seconds that sessions shall survive without a connection. 0: they do not.
    """

    def __init__(self, cluster: Callable[[], str], grace: int) -> None:
        self.grace = grace
        self._cluster = cluster
        self._sessions: set[object] = set()
        self._since = 0.0
        self._back: set[object] = set()
        self._given_up = -1.0

    @property
    def seconds(self) -> float | None:
        """Seconds since the way to the scheduler is interrupted, None if it is not."""
        return time.monotonic() - self._since if self._sessions else None

    def begin(self, session: object) -> None:
        """Note that a session has lost its connection."""
        if not self._sessions:
            self._since = time.monotonic()
            self._back.clear()
            asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._announce, self._since)
        self._sessions.add(session)
        self._back.discard(session)

    def back(self, session: object) -> None:
        """Note that a session has a connection again."""
        self._back.add(session)
        self._leave(session)

    def end(self, session: object) -> None:
        """Note that a session ended."""
        self._back.discard(session)
        self._leave(session)

    def give_up(self, reason: str) -> None:
        """Say, once for all sessions of an absence, that they cannot go on."""
        if self._given_up != self._since:
            self._given_up = self._since
            message = "the connection to cluster %s cannot go on: %s; results that were not fetched are lost"
            logger.error(message, self._cluster(), reason)

    def _leave(self, session: object) -> None:
        """The last one to be away may be one that ends, of which nobody had need, when others are back."""
        seconds = self.seconds
        self._sessions.discard(session)
        if not self._sessions and self._back and seconds is not None and seconds > _QUIET_SECONDS:
            logger.warning("connected to cluster %s again after %.0f s", self._cluster(), seconds)

    def _announce(self, since: float) -> None:
        if self._sessions and self._since == since:
            message = "the connection to cluster %s is interrupted; reconnecting for %d s at most, nothing is lost"
            logger.warning(message, self._cluster(), self.grace)
