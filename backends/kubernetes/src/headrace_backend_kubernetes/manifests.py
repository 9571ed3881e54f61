"""Manifests of clusters: an annotation of the scheduler's pod, or a secret of it where it is too large for one."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.process_pods import manifest_annotation

_KEY = "manifest"


class ManifestStore:
    """Reads and writes manifests."""

    def __init__(self, api: Api, table: PodTable) -> None:
        self._api = api
        self._table = table

    async def read(self, pod: Pod) -> bytes | None:
        """Returns the manifest that is kept with a scheduler's pod."""
        values = pod.metadata.annotations
        try:
            if name := values.get(labels.MANIFEST_SECRET):
                return await self._read_secret(pod.namespace, name)
            return base64.b64decode(values[labels.MANIFEST], validate=True) if labels.MANIFEST in values else None
        except binascii.Error:
            return None  # somebody has changed it
        except (ApiError, Unreachable) as error:
            raise backend_error(f"the manifest of cluster {pod.cluster} cannot be read", error) from error

    async def write(self, pod: Pod, manifest: bytes) -> None:
        """Replaces the manifest of a scheduler's pod."""
        small = manifest_annotation(manifest)
        name = f"{pod.name}-manifest"[-253:]
        values = {labels.MANIFEST: None, labels.MANIFEST_SECRET: None, **(small or {labels.MANIFEST_SECRET: name})}
        try:
            if not small:
                await self._write_secret(pod, name, manifest)
            if changed := await self._api.patch_pod(pod, {"metadata": {"annotations": values}}):
                self._table.accept(changed)
        except (ApiError, Unreachable) as error:
            raise backend_error(f"the manifest of cluster {pod.cluster} cannot be written", error) from error

    async def _read_secret(self, namespace: str, name: str) -> bytes | None:
        data = await self._api.read_secret(namespace, name)
        return base64.b64decode(data.get(_KEY, ""), validate=True) or None if data else None

    async def _write_secret(self, pod: Pod, name: str, manifest: bytes) -> None:
        data: dict[str, Any] = {"data": {_KEY: base64.b64encode(manifest).decode()}}
        own = {key: value for key, value in pod.metadata.labels.items() if key in {labels.DEPLOYMENT, labels.CLUSTER}}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": own, "ownerReferences": [pod.as_owner]},
            **data,
        }
        try:
            await self._api.create_secret(pod.namespace, body)
        except ApiError as error:
            if not error.exists_already:
                raise
            await self._api.patch_secret(pod.namespace, name, data)
