"""Creates the pods of processes; safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pace import SHARE
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.seals import PodSeals
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessKey

_TRIES = 20
_PAUSE_SECONDS = 0.25


class Starting:
    """Creates pods."""

    def __init__(self, api: Api, table: PodTable, seals: PodSeals) -> None:
        self._api = api
        self._table = table
        self._seals = seals

    async def start(self, pods: Sequence[tuple[ProcessKey, Mapping[str, Any]]]) -> None:
        """Creates the pods of processes that do not run; raises the first refusal when all were tried.

        Once the API server has refused a pod for good, no more pods are asked for: they would be refused as well.
        """
        refused: list[BackendError] = []
        room = asyncio.Semaphore(SHARE)

        async def start(key: ProcessKey, body: Mapping[str, Any]) -> None:
            async with room:
                if refused and refused[0].cause is not None:
                    return
                try:
                    await self._start(key, body)
                except (ApiError, Unreachable) as error:
                    refused.append(backend_error(f"pod {body['metadata']['name']} cannot be created", error))

        await asyncio.gather(*(start(key, body) for key, body in pods if not self._table.runs(key)))
        if refused:
            raise min(refused, key=lambda error: error.cause is None)

    async def _start(self, key: ProcessKey, body: Mapping[str, Any]) -> None:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        before = self._table.find(namespace, name)
        if before and before.done:
            await self._replace(before)
        for _ in range(_TRIES):
            try:
                self._table.accept(await self._api.create_pod(namespace, body))
            except ApiError as error:
                if not error.exists_already:
                    raise
            else:
                return
            there = await self._api.get_pod(namespace, name)
            if there is not None and await self._is_done(there, key):
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise ApiError(409, "Conflict", f"pod {name} of an earlier launch does not go away")

    async def _is_done(self, there: Pod, key: ProcessKey) -> bool:
        """Whether a pod of this name is the wanted one; deletes it if it has ended."""
        if there.key != key or not self._seals.is_good(there):
            raise ApiError(400, "Invalid", f"pod {there.name} exists already and belongs to somebody else; delete it")
        if there.done:
            await self._replace(there)
            return False
        if there.metadata.deletion_timestamp:
            return False
        self._table.accept(there)
        return True

    async def _replace(self, pod: Pod) -> None:
        await self._api.delete_pod(pod, grace_seconds=0)
        self._table.delete(pod)
