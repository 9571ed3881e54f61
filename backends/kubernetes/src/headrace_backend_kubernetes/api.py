"""What is asked of the API server: pods, secrets, reviews of tokens, events, logs and watches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from headrace_backend_kubernetes.faults import ApiError
from headrace_backend_kubernetes.objects import (
    EventList,
    ListMetadata,
    Pod,
    PodList,
    decode_events,
    decode_named,
    decode_pod,
    decode_pods,
    decode_secret,
)
from headrace_backend_kubernetes.requests import TRY_SECONDS, Requests
from headrace_chassis.logs import get_logger

log = get_logger()

_NOT_FOUND = 404
_WATCH_SECONDS = 600
# A watch of pods has a bookmark each minute. The API server sends none to a watch of events.
_SILENT_SECONDS = {"pods": 150.0, "events": _WATCH_SECONDS + 30.0}
_PAGE = 500
_ENDED = "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown"
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


class ListedPods(NamedTuple):
    """Pods of a list.

    Attributes
    ----------
    unread
        Uids of those that cannot be read.
    version
        Version from which their changes can be watched.
    """

    pods: Sequence[Pod]
    unread: Collection[str]
    version: str


class Api:
    """A connection to the API server. All methods raise `ApiError` if it refuses, `Unreachable` if it is away."""

    def __init__(self, requests: Requests, namespace: str) -> None:
        self.namespace = namespace
        self._requests = requests

    async def close(self) -> None:
        """Closes all connections."""
        await self._requests.close()

    # --- pods ---

    async def list_pods(self, namespace: str, selector: str) -> ListedPods:
        """Returns all selected pods, and the version from which their changes can be watched."""
        pods: list[Pod] = []
        unread: set[str] = set()
        page = PodList(metadata=ListMetadata())
        while True:
            page = decode_pods(
                await self._requests.read(
                    "list", "pods", "list_namespaced_pod", namespace=namespace, label_selector=selector,
                    limit=_PAGE, _continue=page.metadata.continue_ or None,
                )
            )  # fmt: skip
            for item in page.items:
                try:
                    pods.append(decode_pod(item))
                except msgspec.MsgspecError as error:  # one pod must not hide the others
                    pod = decode_named(item).metadata
                    unread.add(pod.uid)
                    log.warning("pod cannot be read", namespace=namespace, pod=pod.name, error=str(error))
            if not page.metadata.continue_:
                return ListedPods(pods, unread, page.metadata.resource_version)

    async def newest_pod_version(self, namespace: str) -> str:
        """Returns the version from which later changes of pods can be watched."""
        answer = await self._requests.read("list", "pods", "list_namespaced_pod", namespace=namespace, limit=1)
        return decode_pods(answer).metadata.resource_version

    async def get_pod(self, namespace: str, name: str) -> Pod | None:
        """Returns a pod, None if there is none of this name."""
        try:
            return decode_pod(
                await self._requests.read("get", "pods", "read_namespaced_pod", name=name, namespace=namespace)
            )
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def create_pod(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Pod:
        """Creates a pod, or only has it checked; unknown fields are refused."""
        answer = await self._requests.write(
            "create", "pods", "create_namespaced_pod", namespace=namespace, body=body,
            field_validation="Strict", dry_run="All" if dry_run else None,
        )  # fmt: skip
        return decode_pod(answer)

    async def patch_pod(self, pod: Pod, body: Mapping[str, Any]) -> Pod | None:
        """Merges into this very pod, not another of its name; returns None if it is gone."""
        change = {**body, "metadata": {**body.get("metadata", {}), "uid": pod.uid}}
        try:
            return decode_pod(await self._patch(pod, change, _MERGE_PATCH))
        except ApiError as error:
            if error.is_gone:
                return None
            raise

    async def json_patch_pod(self, pod: Pod, operations: list[dict[str, Any]]) -> Pod:
        """Applies operations to a pod; those of kind "test" make it fail if the pod has changed."""
        return decode_pod(await self._patch(pod, operations, _JSON_PATCH))

    async def delete_pod(self, pod: Pod, *, grace_seconds: int | None = None) -> None:
        """Deletes this very pod, not another of its name; does nothing if it is gone."""
        options: dict[str, Any] = {"preconditions": {"uid": pod.uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._requests.write(
                "delete", "pods", "delete_namespaced_pod", name=pod.name, namespace=pod.namespace, body=options
            )
        except ApiError as error:
            if not error.is_gone:
                raise

    async def delete_pods(self, namespace: str, selector: str, *, only_ended: bool = False) -> None:
        """Deletes all selected pods at once, by one request."""
        await self._requests.write(
            "deletecollection", "pods", "delete_collection_namespaced_pod", namespace=namespace,
            label_selector=selector, field_selector=_ENDED if only_ended else None, body={"gracePeriodSeconds": 0},
        )  # fmt: skip

    # --- secrets, reviews ---

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Creates a secret."""
        await self._requests.write("create", "secrets", "create_namespaced_secret", namespace=namespace, body=body)

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Merges into a secret."""
        await self._requests.write(
            "patch", "secrets", "patch_namespaced_secret", namespace=namespace, name=name, body=body,
            _content_type=_MERGE_PATCH,
        )  # fmt: skip

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Returns what is in a secret, in base64; None if there is none of this name."""
        try:
            return decode_secret(
                await self._requests.read("get", "secrets", "read_namespaced_secret", namespace=namespace, name=name)
            ).data
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Deletes a secret; does nothing if there is none."""
        try:
            await self._requests.write("delete", "secrets", "delete_namespaced_secret", namespace=namespace, name=name)
        except ApiError as error:
            if not error.is_gone:
                raise

    async def review_token(self, body: Mapping[str, Any]) -> bytes:
        """Has a token reviewed; returns the review as JSON."""
        return await self._requests.review(body)

    # --- events, logs, watches ---

    async def list_events(self, namespace: str, selector: str, limit: int) -> EventList:
        """Returns some events, and the version from which later ones can be watched."""
        return decode_events(
            await self._requests.read(
                "list", "events", "list_namespaced_event", namespace=namespace, field_selector=selector, limit=limit
            )
        )

    @asynccontextmanager
    async def log(
        self, pod: Pod, *, follow: bool, tail_lines: int | None, since_seconds: int | None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Opens the log of a pod's main container, each line with the time at which it was written."""
        async with self._requests.stream(
            "get", "pods/log", "read_namespaced_pod_log", silent_seconds=None if follow else TRY_SECONDS,
            name=pod.name, namespace=pod.namespace, container=pod.spec.containers[0].name, follow=follow,
            tail_lines=tail_lines, since_seconds=since_seconds, timestamps=True,
        ) as chunks:  # fmt: skip
            yield chunks

    @asynccontextmanager
    async def watch_pods(self, namespace: str, selector: str, version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Watches the selected pods from a version on; yields bytes of lines."""
        async with self._watch(
            "pods", "list_namespaced_pod", version, namespace=namespace, label_selector=selector
        ) as chunks:
            yield chunks

    @asynccontextmanager
    async def watch_events(self, namespace: str, selector: str, version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Watches the selected events from a version on; yields bytes of lines."""
        async with self._watch(
            "events", "list_namespaced_event", version, namespace=namespace, field_selector=selector
        ) as chunks:
            yield chunks

    @asynccontextmanager
    async def _watch(
        self, resource: str, function: str, version: str, **arguments: Any
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self._requests.stream(
            "watch", resource, function, silent_seconds=_SILENT_SECONDS[resource], watch=True,
            allow_watch_bookmarks=True, resource_version=version, timeout_seconds=_WATCH_SECONDS, **arguments,
        ) as chunks:  # fmt: skip
            yield chunks

    async def _patch(self, pod: Pod, body: Any, content_type: str) -> bytes:
        return await self._requests.write(
            "patch", "pods", "patch_namespaced_pod", name=pod.name, namespace=pod.namespace, body=body,
            _content_type=content_type,
        )  # fmt: skip
