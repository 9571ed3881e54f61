"""Events that agents cause. Their number is bounded, because all clusters' events go through one stream of changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from headrace.errors import ClusterNotFound, StoreUnavailable
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_chassis.interceptors.limit import Buckets
from headrace_controller import metrics
from headrace_controller.model import Cluster, ClusterId, Event, Severity
from headrace_controller.store import Store

log = logs.get_logger()

_AT_ONCE, _PER_SECOND = 10, 1.0
_SUMMARY_SECONDS = 10.0


class AgentEvents:
    """Adds events of agents to the lists of their clusters; one event sums up those that are too many.

    Parameters
    ----------
    summary_seconds
        Time over which left-out events are counted before they are summed up.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float], summary_seconds: float = _SUMMARY_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._summary_seconds = summary_seconds
        self._buckets = Buckets(_PER_SECOND, _AT_ONCE)
        self._left_out: Counter[ClusterId] = Counter()
        self._summing: set[asyncio.Task[None]] = set()

    async def add(self, cluster: Cluster, kind: EventType, message: str, severity: Severity = Severity.WARNING) -> None:
        """Adds an event; if the store is away, it is lost."""
        if not self._buckets.take(cluster.id):
            await self._write(cluster, kind, message, severity)
            return
        metrics.AGENT_EVENTS_LEFT_OUT.inc()
        if cluster.id not in self._left_out:
            task = asyncio.create_task(self._sum_up(cluster))
            self._summing.add(task)
            task.add_done_callback(self._summing.discard)
        self._left_out[cluster.id] += 1

    async def close(self) -> None:
        """Ends; what was not summed up yet is lost."""
        for task in self._summing:
            task.cancel()
        await asyncio.gather(*self._summing, return_exceptions=True)

    async def _sum_up(self, cluster: Cluster) -> None:
        await asyncio.sleep(self._summary_seconds)
        count = self._left_out.pop(cluster.id)
        what = "1 more event of its agent was" if count == 1 else f"{count} more events of its agent were"
        await self._write(cluster, EventType.EVENTS_LEFT_OUT, f"{what} left out.", Severity.WARNING)

    async def _write(self, cluster: Cluster, kind: EventType, message: str, severity: Severity) -> None:
        event = Event(type=kind, message=message, severity=severity, time=self._clock())
        try:
            await self._store.events.add(cluster.id, cluster.owner, event)
        except (StoreUnavailable, ClusterNotFound) as error:
            log.warning("an agent's event is lost", cluster=cluster.id, error=str(error))
