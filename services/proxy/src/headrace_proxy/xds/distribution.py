"""The snapshot in force, and which Envoys have it in use."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from headrace_proxy import metrics
from headrace_proxy.xds.node_session import NodeSession, Published
from headrace_proxy.xds.snapshot import Snapshot


@dataclass(eq=False, slots=True)
class Subscriber:
    """One connected Envoy."""

    node: str
    session: NodeSession
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Distribution:
    """Hands the newest snapshot to all connected Envoys and knows how far each of them is."""

    published: Published | None = None
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever `in_use` may have changed; whoever waits for it clears it."""
    _subscribers: set[Subscriber] = field(default_factory=set[Subscriber])
    _waiting: deque[tuple[int, float]] = field(default_factory=lambda: deque[tuple[int, float]](maxlen=1000))

    def publish(self, snapshot: Snapshot, *, remembered: bool = False) -> int:
        """Makes a snapshot the one in force; returns its serial."""
        serial = self.published.serial + 1 if self.published else 1
        self.published = Published(serial, snapshot, remembered)
        self._waiting.append((serial, monotonic()))
        metrics.ROUTES.set(len(snapshot.resources))
        for subscriber in self._subscribers:
            subscriber.wake.set()
        return serial

    @property
    def in_use(self) -> int:
        """Serial that all connected Envoys have in use; 0 without any."""
        return min((s.session.in_use for s in self._subscribers), default=0)

    @property
    def nodes(self) -> list[str]:
        """The connected Envoys."""
        return sorted(s.node for s in self._subscribers)

    def rejected(self) -> set[str]:
        """Clusters that are not served: their route has a fault, or an Envoy refused it."""
        if self.published is None:
            return set()
        snapshot = self.published.snapshot
        refused = {snapshot.cluster_of(name) for s in self._subscribers for name in s.session.refused}
        return refused | set(snapshot.faulty)

    @contextmanager
    def subscribed(self, node: str, session: NodeSession) -> Generator[Subscriber]:
        """Counts an Envoy in while its stream lasts."""
        subscriber = Subscriber(node, session)
        self._subscribers.add(subscriber)
        metrics.NODES.set(len(self._subscribers))
        subscriber.wake.set()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            metrics.NODES.set(len(self._subscribers))
            self.advanced()

    def advanced(self) -> None:
        """An Envoy has come further, or has gone."""
        now, in_use = monotonic(), self.in_use
        while self._waiting and self._waiting[0][0] <= in_use:
            _, published_at = self._waiting.popleft()
            metrics.ACKNOWLEDGE_SECONDS.observe(now - published_at)
        self.progress.set()
