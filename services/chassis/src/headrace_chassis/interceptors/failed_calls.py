"""Log lines of failed calls: the first ones of each caller in a minute, then one with the number of the others.

Each refused call would be a line otherwise, and a caller could push traces of what it did before out of the log.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from structlog.typing import FilteringBoundLogger

from headrace_chassis.identity.caller import caller_name

_FIRST, _SECONDS = 20, 60.0


class FailedCalls:
    """The failed calls of one method. Callers whose name is not known count as one."""

    def __init__(self, log: FilteringBoundLogger, first: int = _FIRST, seconds: float = _SECONDS) -> None:
        self._log = log
        self._first = first
        self._seconds = seconds
        self._failed = Counter[str]()  # in the current period of each caller

    def add(self, code: str, error: str | None, seconds: float) -> None:
        """Write the line of a call, if its caller has not had too many."""
        caller = caller_name()
        if not self._failed[caller]:
            asyncio.get_running_loop().call_later(self._seconds, self._end_period, caller)
        self._failed[caller] += 1
        if self._failed[caller] <= self._first:
            self._log.info("call failed", caller=caller, code=code, error=error, seconds=seconds)

    def _end_period(self, caller: str) -> None:
        left_out = self._failed.pop(caller) - self._first
        if left_out > 0:
            self._log.info("more calls failed", caller=caller, calls=left_out, within_seconds=self._seconds)
