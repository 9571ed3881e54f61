"""How fast a cluster's agent is served. What comes faster waits; the stream's flow control holds its sender back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from headrace_chassis.interceptors.limit import Buckets
from headrace_controller import metrics
from headrace_controller.model import ClusterId


class Pace:
    """A number of steps at once for each cluster, and so many a second after that."""

    def __init__(self, per_second: float, at_once: int) -> None:
        self._buckets = Buckets(per_second, at_once)

    async def wait(self, cluster: ClusterId) -> None:
        """Waits until the cluster may take a step."""
        while seconds := self._buckets.take(cluster):
            metrics.AGENT_WAITS.inc()
            await asyncio.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Paces:
    """Of all sessions together, by cluster: one that opens many sessions is not served faster.

    Attributes
    ----------
    hellos
        That are checked, which reads from the backend.
    messages
        That are read.
    reports, targets
        That are written to the store, where all clusters share the stream of changes. What comes meanwhile is written
        together.
    """

    hellos: Pace = field(default_factory=lambda: Pace(2, 20))
    messages: Pace = field(default_factory=lambda: Pace(200, 1000))
    reports: Pace = field(default_factory=lambda: Pace(10, 50))
    targets: Pace = field(default_factory=lambda: Pace(5, 20))
