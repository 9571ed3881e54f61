"""Deletes pods that nobody needs: the oldest that have ended, those that never start, those of lost nodes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_chassis.logs import get_logger

log = get_logger()

_PAUSE_SECONDS = (2.0, 6.0)  # differs between replicas, so that seldom two of them delete the same


class Retention:
    """Keeps a number of ended pods for their logs.

    Parameters
    ----------
    per_cluster, in_all
        Numbers of ended pods that are kept.
    """

    def __init__(self, api: Api, table: PodTable, *, per_cluster: int, in_all: int) -> None:
        self._api = api
        self._table = table
        self._per_cluster = per_cluster
        self._in_all = in_all

    async def run(self) -> None:
        """Works until cancelled, and only after changes."""
        while True:
            await self._table.changed.wait()
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 spreads load, hides nothing
            self._table.changed.clear()
            hopeless = list(self._table.hopeless.values())
            await asyncio.gather(*map(self._delete, [*hopeless, *surplus(
                self._table.ended.values(), per_cluster=self._per_cluster, in_all=self._in_all
            )]))  # fmt: skip

    async def _delete(self, pod: Pod) -> None:
        try:
            await self._api.delete_pod(pod, grace_seconds=0)
        except (ApiError, Unreachable) as error:
            log.warning("cannot delete a pod", namespace=pod.namespace, pod=pod.name, error=str(error))
            self._table.changed.set()


def surplus(ended: Iterable[Pod], *, per_cluster: int, in_all: int) -> list[Pod]:
    """Returns the pods to delete of those that have ended, which come oldest first."""
    kept: Counter[str] = Counter()
    number = 0
    chosen: list[Pod] = []
    for pod in reversed([each for each in ended if not each.metadata.deletion_timestamp]):
        if kept[pod.cluster] >= per_cluster or number == in_all:
            chosen.append(pod)
        else:
            kept[pod.cluster] += 1
            number += 1
    return chosen
