"""Tokens of launches in Secrets: for installations that may not have tokens reviewed.

A cluster has one Secret, which belongs to its scheduler's pod and is removed with it. Each pod mounts its own token
and no other.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.names import label_value, pod_name
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_controller.backends.process import ProcessKey, ProcessSpec

Plain = dict[str, Any]


class EnrolmentSecrets:
    """Writes the Secrets of a deployment."""

    def __init__(self, api: Api, table: PodTable, deployment: str) -> None:
        self._api = api
        self._table = table
        self._deployment = deployment

    async def put(self, namespace: str, cluster: str, specs: Sequence[ProcessSpec]) -> None:
        """Adds the tokens of processes that are about to start, and removes those of processes that have exited."""
        new = {_key(spec.key): base64.b64encode(spec.agent_token.encode()).decode() for spec in specs}
        name = secret_name(cluster)
        try:
            there = await self._api.read_secret(namespace, name)
            if there is None:
                await self._api.create_secret(namespace, self._secret(name, cluster, new))
                return
            needed = new.keys() | {_key(ProcessKey(cluster, pod.process)) for pod in self._table.running(cluster)}
            old = dict.fromkeys(there.keys() - needed)
            await self._api.patch_secret(namespace, name, {"data": {**old, **new}})
        except (ApiError, Unreachable) as error:
            raise backend_error(f"the tokens of cluster {cluster} cannot be written to Secret {name}", error) from error

    async def give_to(self, scheduler: Pod) -> None:
        """Lets the Secret of a cluster be removed with its scheduler's pod."""
        name = secret_name(scheduler.cluster)
        owned = {"metadata": {"ownerReferences": [scheduler.as_owner]}}
        try:
            await self._api.patch_secret(scheduler.namespace, name, owned)
        except (ApiError, Unreachable) as error:
            raise backend_error(f"Secret {name} cannot be given to pod {scheduler.name}", error) from error

    async def forget(self, namespace: str, cluster: str) -> None:
        """Deletes the Secret of a cluster whose scheduler's pod was never made."""
        await self._api.delete_secret(namespace, secret_name(cluster))

    def _secret(self, name: str, cluster: str, data: Plain) -> Plain:
        named = {labels.DEPLOYMENT: label_value(self._deployment), labels.CLUSTER: label_value(cluster)}
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "headrace", **named}}
        return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}


def token_source(key: ProcessKey) -> Plain:
    """Returns the source of the volume with a process's token, and with no other's."""
    return {"secret": {"secretName": secret_name(key.cluster), "items": [{"key": _key(key), "path": "token"}]}}


def secret_name(cluster: str) -> str:
    """Returns the name of a cluster's Secret."""
    return pod_name(ProcessKey(cluster, "tokens"), 0)


def _key(key: ProcessKey) -> str:
    return label_value(key.process)
