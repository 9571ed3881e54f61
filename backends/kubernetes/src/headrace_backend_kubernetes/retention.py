"""Deletes pods that nobody needs: the oldest that have ended, those that never start, those of lost nodes.

A pod whose Dask process has ended, and in which a container of others runs on, would keep its cores and its memory. It
is ended as it is when headrace stops it, and stays with its log like all that have ended.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.objects import END, Pod
from headrace_backend_kubernetes.pace import SHARE
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_chassis.logs import get_logger

log = get_logger()

_PAUSE_SECONDS = (2.0, 6.0)  # differs between replicas, so that seldom two of them delete the same
_AT_ONCE = 100  # ended pods that one request deletes


class Retention:
    """Keeps a number of ended pods for their logs.

    Parameters
    ----------
    per_cluster, in_all
        Numbers of ended pods that are kept.
    """

    def __init__(self, api: Api, table: PodTable, deployment: str, *, per_cluster: int, in_all: int) -> None:
        self._api = api
        self._table = table
        self._deployment = deployment
        self._per_cluster = per_cluster
        self._in_all = in_all

    async def run(self) -> None:
        """Works until cancelled, and only after changes."""
        while True:
            await self._table.changed.wait()
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 spreads load, hides nothing
            self._table.changed.clear()
            try:
                await self.delete_all()
            except Exception:  # logged in full; nobody else deletes them
                log.exception("pods that nobody needs cannot be deleted; will try again")
                self._table.changed.set()

    async def delete_all(self) -> None:
        """Deletes and ends what nobody needs now; deletes those that have ended by many at a time."""
        ended = surplus(self._table.ended.values(), per_cluster=self._per_cluster, in_all=self._in_all)
        room = asyncio.Semaphore(SHARE)
        await asyncio.gather(
            *(self._try(room, self._end, [pod]) for pod in self._table.outlived.values()),
            *(self._try(room, self._delete, [pod]) for pod in self._table.hopeless.values()),
            *(self._try(room, self._delete_ended, pods) for pods in batches(ended)),
        )

    async def _end(self, pods: list[Pod]) -> None:
        [pod] = pods
        if ended := await self._api.patch_pod(pod, END):
            self._table.accept(ended)
        else:
            self._table.delete(pod)

    async def _delete(self, pods: list[Pod]) -> None:
        [pod] = pods
        await self._api.delete_pod(pod, grace_seconds=0)

    async def _delete_ended(self, pods: list[Pod]) -> None:
        """Deletes ended pods of one cluster; a process that was launched again meanwhile is not touched."""
        chosen = labels.selector(self._deployment, pods[0].cluster, (pod.process for pod in pods))
        await self._api.delete_pods(pods[0].namespace, chosen, only_ended=True)

    async def _try(
        self, room: asyncio.Semaphore, delete: Callable[[list[Pod]], Awaitable[None]], pods: list[Pod]
    ) -> None:
        try:
            async with room:
                await delete(pods)
        except (ApiError, Unreachable) as error:
            first = pods[0]
            log.warning(
                "cannot delete or end pods",
                namespace=first.namespace,
                pod=first.name,
                number=len(pods),
                error=str(error),
            )
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


def batches(pods: Iterable[Pod]) -> Iterator[list[Pod]]:
    """Yields pods of one cluster in one namespace together, as many as one request deletes."""
    found: dict[tuple[str, str], list[Pod]] = {}
    for pod in pods:
        found.setdefault((pod.namespace, pod.cluster), []).append(pod)
    for together in found.values():
        yield from (together[first : first + _AT_ONCE] for first in range(0, len(together), _AT_ONCE))
