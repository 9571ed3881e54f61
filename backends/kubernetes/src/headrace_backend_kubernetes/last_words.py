"""The ends of the logs of pods that others delete: read while they can be, since nobody can afterwards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_chassis.logs import get_logger
from headrace_controller.backends.process import ProcessKey, ProcessStatus

log = get_logger()

_KEPT_PODS = 200
_KEPT_BYTES = 64 * 1024
_KEPT_LINES = 1000
_LAST_LINES_SECONDS = 1.0  # the node may be gone, and the controller gives up after 2 s
_AT_ONCE = 50  # a node with a hundred pods may go
_TOO_LATE = b"unable to retrieve container logs"  # what a kubelet answers once the container is gone


class LastWords:
    """Reads the log of each pod that is being ended by others, and keeps its last 64 KiB for the last 200 of them."""

    def __init__(self, api: Api, table: PodTable) -> None:
        self._api = api
        self._table = table
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            changes = self._table.feed.stream()
            for status in self._table.statuses():  # some may have been leaving before
                self._check(status)
            async for status in changes:
                self._check(status)
        finally:
            for task in self._reading.values():
                task.cancel()
            await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def has(self, pod: Pod) -> bool:
        """Whether this is what is left of a pod's log: without the container, the API server has an excuse for one.

        The word that a pod has ended may come before the last lines of its log, so these are waited for.
        """
        if self._table.runs(ProcessKey(pod.cluster, pod.process)):
            return False
        if reading := self._reading.get(pod.uid):
            await asyncio.wait({reading}, timeout=_LAST_LINES_SECONDS)
        return bool(self._kept.get(pod.uid))

    async def of(self, pod: Pod, tail_lines: int | None) -> AsyncIterator[bytes]:
        """Yields the lines that are kept of a pod, each with its time."""
        lines = self._kept.get(pod.uid, b"").splitlines(keepends=True)
        for line in lines if tail_lines is None else lines[max(0, len(lines) - tail_lines) :]:
            yield line

    def _check(self, status: ProcessStatus) -> None:
        if status.leaving is not None and (pod := self._table.pod(status.key)):
            self._start(pod)

    def _start(self, pod: Pod) -> None:
        if pod.uid in self._kept or len(self._reading) >= _AT_ONCE:
            return
        self._kept[pod.uid] = b""
        while len(self._kept) > _KEPT_PODS:
            self._kept.popitem(last=False)
        task = self._reading[pod.uid] = asyncio.create_task(self._read(pod))
        task.add_done_callback(lambda _: self._reading.pop(pod.uid, None))

    async def _read(self, pod: Pod) -> None:
        try:
            async with self._api.log(pod, follow=True, tail_lines=_KEPT_LINES, since_seconds=None) as chunks:
                async for chunk in chunks:
                    if pod.uid not in self._kept or chunk.startswith(_TOO_LATE):
                        return  # or many others have ended since
                    self._kept[pod.uid] = _end_of(self._kept[pod.uid] + chunk)
        except (ApiError, Unreachable) as error:
            log.info("the log of a pod that ends cannot be read", pod=pod.name, error=str(error))


def _end_of(text: bytes) -> bytes:
    """The last whole lines that fit."""
    if len(text) <= _KEPT_BYTES:
        return text
    return text[-_KEPT_BYTES:].partition(b"\n")[2]
