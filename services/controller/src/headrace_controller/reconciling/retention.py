"""Removes clusters whose retention is over, with their logs and manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.errors import StoreUnavailable
from headrace_chassis import logs
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.loops import faults_logged
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.shards import Shards
from headrace_controller.store import Store

log = logs.get_logger()
_AT_ONCE = 100


class Retention:
    """Polls the store for clusters whose retention is over.

    Parameters
    ----------
    retention
        Seconds for which an ended cluster is kept.
    pause
        Seconds between two polls.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        shards: Shards,
        *,
        retention: float,
        pause: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._backend = backend
        self._shards = shards
        self._retention = retention
        self._pause = pause
        self._clock = clock

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await asyncio.sleep(self._pause)
            with faults_logged("cannot find clusters whose retention is over; will try again"):
                await self.remove_due()

    async def remove_due(self) -> None:
        """Removes all clusters of this replica's shards whose retention is over."""
        before, skip = self._clock() - self._retention, 0
        while True:
            due = await self._store.reads.ended_before(before, _AT_ONCE, skip)
            removed = [cluster for cluster in due if self._shards.own(cluster) and await self._remove(cluster)]
            skip += len(due) - len(removed)
            if len(due) < _AT_ONCE:
                return

    async def _remove(self, cluster: ClusterId) -> bool:
        try:
            await self._backend.forget(cluster)
            await self._store.records.remove(cluster)
        except (BackendError, StoreUnavailable) as error:
            log.warning("cannot remove an ended cluster; will try again", cluster=cluster, error=str(error))
            return False
        except Exception:  # one cluster's fault must not keep the others; logged in full
            log.exception("removing an ended cluster failed; will try again", cluster=cluster)
            return False
        return True
