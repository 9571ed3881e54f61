"""Limits that admins have set for a while: followed by every replica, in force until they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from headrace.errors import InvalidRequest, Violation
from headrace_controller.loops import faults_logged, wait
from headrace_controller.model import LimitException, Limits
from headrace_controller.store import Change, ChangeKind, Store
from headrace_controller.store.limit_exceptions import MOST_EXCEPTIONS

_AGAIN_SECONDS = 1.0


class LimitExceptions:
    """Kept in the store. Whether one is in force is decided at the moment at which it is asked."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._kept = store.limit_exceptions
        self._clock = clock
        self._known: Mapping[str, Mapping[str, LimitException]] = {}
        self._loading = asyncio.Lock()
        self._news = asyncio.Event()
        self._listeners: list[Callable[[object], None]] = []

    def on_change(self, listener: Callable[[object], None]) -> None:
        """Call the listener when limits may be others: after each change, and when one has ended."""
        self._listeners.append(listener)

    def on_entry(self, change: Change) -> None:
        """Read them again if any replica has changed them."""
        if change.kind is ChangeKind.LIMITS:
            self._news.set()

    def of(self, subject: str) -> Mapping[str, LimitException]:
        """Return those of a subject that are in force, by resource."""
        if not (known := self._known.get(subject)):
            return {}
        now = self._clock()
        return {resource: one for resource, one in known.items() if one.ends > now}

    def all(self) -> Sequence[LimitException]:
        """Return all that are in force, by subject and resource."""
        return [one for subject in sorted(self._known) for _, one in sorted(self.of(subject).items())]

    def apply(self, subject: str, limits: Limits) -> Limits:
        """Return limits of a subject with what is in force instead."""
        found = self.of(subject)
        return Limits(limits | {resource: one.bound for resource, one in found.items()}) if found else limits

    async def add(self, exceptions: Sequence[LimitException]) -> None:
        """Set limits; raise `InvalidRequest` if they would be too many."""
        if (count := await self._kept.change(self._clock(), add=exceptions)) is not None:
            text = f"there may be at most {MOST_EXCEPTIONS} exceptions, and there are {count}; end some of them first"
            raise InvalidRequest.of(Violation("limits", text))
        await self.load()

    async def remove(self, exceptions: Sequence[LimitException]) -> None:
        """End some of them."""
        await self._kept.change(self._clock(), remove=exceptions)
        await self.load()

    async def load(self) -> None:
        """Read them from the store; those who call at the same time wait for one another, so that the newest counts."""
        async with self._loading:
            known: dict[str, dict[str, LimitException]] = {}
            now = self._clock()
            for one in await self._kept.load():
                if one.ends > now:
                    known.setdefault(one.subject, {})[one.resource] = one
            before, self._known = self._known, known
        if before != known:
            self._tell()

    async def run(self) -> None:
        """Follow them until cancelled."""
        while True:
            await wait(self._news, self._pause())
            self._news.clear()
            with faults_logged("cannot read exceptions of limits; will try again"):
                await self.load()
                continue
            self._news.set()
            await asyncio.sleep(_AGAIN_SECONDS)

    def _pause(self) -> float | None:
        """Seconds until the next one ends; None if there is none."""
        ends = [one.ends for known in self._known.values() for one in known.values()]
        return max(0.0, min(ends) - self._clock()) if ends else None

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self)
