"""Watches the namespaces of a deployment: its pods, and what Kubernetes says of pods there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

import msgspec
from cachetools import LRUCache

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.objects import Pod, decode_event, decode_pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.seals import PodSeals
from headrace_backend_kubernetes.watching import Watch
from headrace_chassis.logs import get_logger

log = get_logger()

_EVENTS = "involvedObject.kind=Pod"


class Namespaces:
    """Keeps a table of pods up to date with one watch of pods and one of events for each namespace.

    Parameters
    ----------
    selector
        Selects the pods that are labelled as the deployment's.
    seals
        Tell which of them the deployment has made.
    """

    def __init__(self, api: Api, table: PodTable, selector: str, seals: PodSeals) -> None:
        self._api = api
        self._table = table
        self._selector = selector
        self._seals = seals
        self._told: LRUCache[str, None] = LRUCache(1000)
        self._watching: dict[str, list[asyncio.Task[None]]] = {}
        self._listed: set[str] = set()

    async def open(self, own: str, others: Collection[str]) -> None:
        """Knows all pods of its own namespace when it returns; those of others are known soon."""
        pods = self._pods(own)
        await pods.list()
        self._watch(own, pods)
        self.follow(others)

    def follow(self, namespaces: Collection[str]) -> None:
        """Watches further namespaces. One that was left is still watched, for pods may run there."""
        for namespace in namespaces:
            if namespace not in self._watching:
                self._watch(namespace, self._pods(namespace))

    def listed(self, namespace: str) -> bool:
        """Whether all pods of a namespace were known once."""
        return namespace in self._listed

    async def close(self) -> None:
        """Ends all watches."""
        tasks = [task for of_namespace in self._watching.values() for task in of_namespace]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, namespace: str, pods: Watch) -> None:
        self._watching[namespace] = [
            asyncio.create_task(pods.run(), name=f"pods of {namespace}"),
            asyncio.create_task(self._events(namespace).run(), name=f"events of {namespace}"),
        ]

    def _pods(self, namespace: str) -> Watch:
        async def refresh() -> str:
            before = self._table.versions()
            listed = await self._api.list_pods(namespace, self._selector)
            ours: list[Pod] = []
            others: list[Pod] = []
            for pod in listed.pods:
                (ours if self._is_ours(pod) else others).append(pod)
            for pod in others:
                self._table.disown(pod)
            unread = {*listed.unread, *(pod.uid for pod in others)}
            self._table.replace(namespace, ours, int(listed.version), before=before, unread=unread)
            self._listed.add(namespace)
            return listed.version

        return Watch(
            "pods",
            namespace,
            refresh=refresh,
            newest=partial(self._api.newest_pod_version, namespace),
            open_stream=partial(self._api.watch_pods, namespace, self._selector),
            accept=self._accept_pod,
        )

    def _events(self, namespace: str) -> Watch:
        async def newest() -> str:
            return (await self._api.list_events(namespace, _EVENTS, limit=1)).metadata.resource_version

        return Watch(
            "events",
            namespace,
            refresh=newest,  # old events do not matter
            newest=newest,
            open_stream=partial(self._api.watch_events, namespace, _EVENTS),
            accept=self._accept_event,
        )

    def _accept_pod(self, change: str, content: msgspec.Raw) -> None:
        pod = decode_pod(content)
        if change == "DELETED":
            self._table.delete(pod)
        elif self._is_ours(pod):
            self._table.accept(pod)
        else:
            self._table.disown(pod)

    def _is_ours(self, pod: Pod) -> bool:
        """Whether the deployment has made a pod. One that others have labelled is left alone, and told of once."""
        if self._seals.is_good(pod):
            return True
        if pod.uid not in self._told:
            self._told[pod.uid] = None
            log.warning(
                "a pod is labelled as this deployment's, and has no seal of its key: somebody else has made or changed "
                "it, and it is ignored",
                namespace=pod.namespace,
                pod=pod.name,
            )
        return False

    def _accept_event(self, change: str, content: msgspec.Raw) -> None:
        if change != "DELETED":
            self._table.note(decode_event(content))
