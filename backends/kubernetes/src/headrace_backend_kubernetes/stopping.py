"""Ends pods in order, and deletes those that do not end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.labels import STOPPED
from headrace_backend_kubernetes.objects import END, Pod
from headrace_backend_kubernetes.pace import SHARE
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_chassis.logs import get_logger
from headrace_controller.backends.process import ProcessKey

log = get_logger()

MARGIN_SECONDS = 15.0
"""Time that Kubernetes may take to end a pod, besides the pod's own grace."""

_MARK = {"metadata": {"annotations": {STOPPED: "true"}}}


class Stopping:
    """Stops pods."""

    def __init__(self, api: Api, table: PodTable) -> None:
        self._api = api
        self._table = table

    async def stop(self, pods: Sequence[Pod]) -> None:
        """Returns when all have ended; raises `BackendError` if some could not be asked to."""
        room = asyncio.Semaphore(SHARE)
        failures = await asyncio.gather(*(self._stop(pod, room) for pod in pods), return_exceptions=True)
        for pod, failure in zip(pods, failures, strict=True):
            if isinstance(failure, ApiError | Unreachable):
                raise backend_error(f"pod {pod.name} cannot be stopped", failure)
            if isinstance(failure, BaseException):
                raise failure

    async def _stop(self, pod: Pod, room: asyncio.Semaphore) -> None:
        async with room:
            await self._ask(pod)
        key = ProcessKey(pod.cluster, pod.process)
        try:
            async with asyncio.timeout(pod.spec.termination_grace_period_seconds + MARGIN_SECONDS):
                await self._table.exited(key)
        except TimeoutError:
            log.warning("pod does not end; deleting it", namespace=pod.namespace, pod=pod.name)
            await self._api.delete_pod(pod, grace_seconds=0)
            await self._table.exited(key)

    async def _ask(self, pod: Pod) -> None:
        starts = pod.main.running is not None
        marked = await self._api.patch_pod(pod, {**_MARK, **END} if starts else _MARK)
        if marked is None:
            self._table.delete(pod)
            return
        self._table.accept(marked)
        if not starts:
            await self._api.delete_pod(marked)
