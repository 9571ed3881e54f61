"""Charges living clusters by another policy as soon as it is in force: for resources and to subjects that are new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headrace.errors import ClusterNotFound
from headrace_controller.admission import Admission
from headrace_controller.loops import faults_logged, spread, wait
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.store import RecordUnreadable, Store

_AGAIN_SECONDS = 10.0  # for what a replica has written meanwhile that did not have the new policy yet


class Recharging:
    """Looks at this replica's clusters, at most 500 a second, when the policy or whose they are has changed.

    Under one policy it looks at a record again only if it was written meanwhile.
    """

    def __init__(
        self, store: Store, mirror: ClusterMirror, admission: Admission, own: Callable[[], Sequence[ClusterId]]
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._own = own
        self._charged: dict[ClusterId, int] = {}  # revisions of records that are charged by the policy in force
        self._news = asyncio.Event()

    def follow(self, _policy: object) -> None:
        """Charge by another policy."""
        self._charged = {}  # a new dict: a charge in progress writes to the old one
        self._news.set()

    def gained(self, _shard: int) -> None:
        """Look at the clusters of a shard: the policy may have changed while nobody had them."""
        self._news.set()

    async def run(self) -> None:
        """Follow the policy until cancelled."""
        await self._mirror.ready.wait()
        times = 0
        while True:
            await wait(self._news, _AGAIN_SECONDS if times else None)
            if self._news.is_set():
                self._news.clear()
                times = 2
            with faults_logged("cannot charge clusters by the policy in force; will try again"):
                await self.apply()
                times -= 1

    async def apply(self) -> None:
        """Charge the clusters by the policy in force that are charged otherwise."""
        own = self._own()
        self._charged = {cluster_id: self._charged[cluster_id] for cluster_id in own if cluster_id in self._charged}
        await spread(self._charge, own)

    async def _charge(self, cluster_id: ClusterId) -> None:
        charged = self._charged
        try:
            cluster = self._mirror.get(cluster_id)
            if cluster is None or charged.get(cluster_id) == cluster.revision:
                return
            record = await self._store.records.recharge(
                cluster, demand=self._admission.count, limits=self._admission.limits
            )
        except (ClusterNotFound, RecordUnreadable):
            return
        if record is not None:
            self._mirror.apply(record)
        charged[cluster_id] = (record or cluster).revision
