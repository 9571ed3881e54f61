"""The snapshot in force, and which Envoys use it."""

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
    """Gives the newest snapshot to all connected Envoys and records how far each of them is."""

    published: Published | None = None
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever `in_use` may have changed; its one reader clears it."""
    _subscribers: set[Subscriber] = field(default_factory=set[Subscriber])
    _unacknowledged: deque[tuple[int, float]] = field(default_factory=lambda: deque[tuple[int, float]](maxlen=1000))

    def publish(self, snapshot: Snapshot, *, restored: bool = False) -> int:
        """Make a snapshot the one in force; return its serial."""
        serial = self.published.serial + 1 if self.published else 1
        self.published = Published(serial, snapshot, restored)
        self._unacknowledged.append((serial, monotonic()))
        metrics.ROUTES.set(len(snapshot.resources))
        for subscriber in self._subscribers:
            subscriber.wake.set()
        return serial

    @property
    def in_use(self) -> int:
        """Serial that all connected Envoys use; 0 without any."""
        return min((s.session.in_use for s in self._subscribers), default=0)

    def rejected(self) -> set[str]:
        """Clusters that are not served: their route has a fault, or an Envoy rejected it."""
        if self.published is None:
            return set()
        snapshot = self.published.snapshot
        rejected = {snapshot.template.cluster_of(name) for s in self._subscribers for name in s.session.rejected}
        return rejected | set(snapshot.faults)

    @contextmanager
    def subscribed(self, node: str, session: NodeSession) -> Generator[Subscriber]:
        """Count an Envoy in for the length of the block."""
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
        """Record that an Envoy acknowledged something, or disconnected."""
        now, in_use = monotonic(), self.in_use
        while self._unacknowledged and self._unacknowledged[0][0] <= in_use:
            _, published_at = self._unacknowledged.popleft()
            metrics.ACKNOWLEDGE_SECONDS.observe(now - published_at)
        self.progress.set()
