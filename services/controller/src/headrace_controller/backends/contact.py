"""Whether a platform answers: what is not heard from it meanwhile is nobody's fault. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_SHORT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Contact:
    """Whether a platform answers.

    Attributes
    ----------
    since
        Time since which it answers, or does not.
    failure
        Why it does not answer; "" if it does.
    """

    since: float
    failure: str = ""


class ContactRecord:
    """Keeps what became of the requests to a platform. An interruption of less than 2 s counts as none afterwards."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._answers_since = clock()
        self._answered = 0.0
        self._callbacks: list[Callable[[], None]] = []
        self.current = Contact(self._answers_since)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back when the platform ceases to answer, and when it answers again."""
        self._callbacks.append(callback)

    def answered(self) -> None:
        """Records an answer."""
        now = self._answered = self._clock()
        if not self.current.failure:
            return
        if now - self.current.since >= _SHORT_SECONDS:
            self._answers_since = now
        self._change(Contact(self._answers_since))

    def failed(self, why: str, *, waited: float = 0.0) -> None:
        """Records a request that was not answered; the first reason is kept until one is.

        If another was answered in the seconds that this one waited, such as for a webhook, the platform is not away.
        """
        now = self._clock()
        if not self.current.failure and self._answered <= now - waited:
            self._change(Contact(now, why))

    def _change(self, contact: Contact) -> None:
        self.current = contact
        for callback in self._callbacks:
            callback()
