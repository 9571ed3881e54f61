"""Has clusters that run cost what the policy in force says, from the moment on at which a price changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from headrace_controller.loops import faults_logged, in_turns, spread, wait
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.store import Store

_BEAT_SECONDS = 60.0  # for what a replica has written that did not have the new policy yet


class Pricing:
    """Compares what this replica's clusters cost with the prices in force; at most 500 a second are changed."""

    def __init__(self, store: Store, mirror: ClusterMirror, own: Callable[[], Iterable[ClusterId]]) -> None:
        self._store = store
        self._mirror = mirror
        self._own = own
        self._news = asyncio.Event()

    def follow(self, _policy: object) -> None:
        """Apply other prices at once."""
        self._news.set()

    async def run(self) -> None:
        """Follow the prices until cancelled."""
        while True:
            self._news.clear()
            with faults_logged("cannot apply changed prices; will try again"):
                await self.apply()
            await wait(self._news, _BEAT_SECONDS)

    async def apply(self) -> None:
        """Reprice the clusters whose prices are others than those in force."""
        wrong = [
            cluster
            async for id_ in in_turns(list(self._own()))
            if (cluster := self._mirror.get(id_)) is not None and self._store.used.is_mispriced(cluster)
        ]
        await spread(self._store.used.reprice, wrong)
