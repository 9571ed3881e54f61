"""Secrets, ConfigMaps and Deployments that the jobs of the chart read and write, through the API server."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from kubernetes.aio import client, config

NOT_FOUND, CONFLICT = 404, 409


class Objects(Protocol):
    """Access to the objects of one namespace."""

    async def secret(self, name: str) -> dict[str, bytes] | None:
        """Return the data of a Secret; None if there is none."""
        ...

    async def create_secret(self, name: str, data: Mapping[str, bytes], *, tls: bool = False) -> bool:
        """Create a Secret; return False, and change nothing, if there is one."""
        ...

    async def replace_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        """Replace the data of a Secret."""
        ...

    async def save_config_map(self, name: str, data: Mapping[str, str]) -> None:
        """Create a ConfigMap, or replace its data."""
        ...


class KubernetesObjects:
    """The objects in a real namespace. All of them get the given labels."""

    def __init__(self, api: client.ApiClient, namespace: str, labels: Mapping[str, str]) -> None:
        self._core = client.CoreV1Api(api)
        self._namespace = namespace
        self._labels = dict(labels)

    async def secret(self, name: str) -> dict[str, bytes] | None:
        try:
            found: Any = await self._core.read_namespaced_secret(name, self._namespace)
        except client.ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return {key: base64.b64decode(value) for key, value in (found.data or {}).items()}

    async def create_secret(self, name: str, data: Mapping[str, bytes], *, tls: bool = False) -> bool:
        made = client.V1Secret(
            metadata=client.V1ObjectMeta(name=name, labels=self._labels),
            type="kubernetes.io/tls" if tls else "Opaque",
            data=_encoded(data),
        )
        try:
            await self._core.create_namespaced_secret(self._namespace, made)
        except client.ApiException as error:
            if error.status == CONFLICT:
                return False
            raise
        return True

    async def replace_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        await self._core.patch_namespaced_secret(name, self._namespace, {"data": _encoded(data)})

    async def save_config_map(self, name: str, data: Mapping[str, str]) -> None:
        whole = [{"op": "add", "path": "/data", "value": dict(data)}]  # what was merged would leave other keys
        try:
            await self._core.patch_namespaced_config_map(name, self._namespace, whole)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=self._labels), data=dict(data))
            await self._core.create_namespaced_config_map(self._namespace, made)


def _encoded(data: Mapping[str, bytes]) -> dict[str, bytes | str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


@asynccontextmanager
async def in_cluster() -> AsyncGenerator[client.ApiClient]:
    """Connect with the service account of this pod."""
    configuration = client.Configuration()
    config.load_incluster_config(configuration)
    async with client.ApiClient(configuration) as api:
        yield api


async def remove_pods(deployment: str, namespaces: Iterable[str]) -> None:
    """Delete the Dask pods of a deployment, each within its own grace period."""
    async with in_cluster() as api:
        for namespace in namespaces:
            await client.CoreV1Api(api).delete_collection_namespaced_pod(
                namespace, label_selector=f"headrace.dev/deployment={deployment}"
            )
