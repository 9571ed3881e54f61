"""Watches: the state at hand, a checkpoint, then what changes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller import metrics
from headrace_controller.api import convert, requests
from headrace_controller.api.answers import Views
from headrace_controller.clusters.access import Access, check_owner
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import Change, ChangeKind, Store, Topic
from headrace_controller.store.tail import Tail

_RECORD = {ChangeKind.SPEC, ChangeKind.STATUS, ChangeKind.REPORT}
_EVENTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a watch is of: one cluster, an owner's, or everybody's."""

    cluster: ClusterId | None
    owner: UserId | None
    events: bool

    @property
    def topic(self) -> Topic | None:
        if self.cluster is not None:
            return "cluster", self.cluster
        return None if self.owner is None else ("owner", self.owner)

    def has(self, change: Change) -> bool:
        return change.kind is not ChangeKind.ACKNOWLEDGED and (self.events or change.kind is not ChangeKind.EVENT)


class Watching:
    """Answers WatchClusters."""

    def __init__(
        self,
        store: Store,
        access: Access,
        views: Views,
        tail: Tail[Change],
        *,
        checkpoint_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._access = access
        self._views = views
        self._tail = tail
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock

    async def watch(self, request: pb.WatchClustersRequest, caller: Caller) -> AsyncIterator[pb.WatchClustersResponse]:
        """Steps of a watch, for ever."""
        scope = await self._scope(request, caller)
        with metrics.WATCHES.track_inprogress():
            position = _checked(request.resume_token)
            if not position:
                position = await self._store.changes_head()
                async for step in self._state(scope):
                    yield step
                yield self._checkpoint(position)
            async for step in self._changes(scope, position):
                yield step

    async def _changes(self, scope: _Scope, position: str) -> AsyncIterator[pb.WatchClustersResponse]:
        loop = asyncio.get_running_loop()
        checkpoint_due = loop.time() + self._checkpoint_seconds
        while True:
            before = position
            changes, position = await self._tail.about(scope.topic, position, checkpoint_due - loop.time())
            steps = await self._steps([change for change in changes if scope.has(change)])
            for step in steps:
                step.resume_token = position if step is steps[-1] else before
                yield step
            if loop.time() >= checkpoint_due:
                checkpoint_due = loop.time() + self._checkpoint_seconds
                yield self._checkpoint(position)

    async def _scope(self, request: pb.WatchClustersRequest, caller: Caller) -> _Scope:
        if request.name:
            cluster = await self._access.checked_id(request.name, caller)
            return _Scope(cluster, None, request.include_events)
        name = requests.owner(request.owner, caller.user)
        owner = None if name is None else UserId(name)
        check_owner(owner, caller)
        return _Scope(None, owner, request.include_events)

    async def _state(self, scope: _Scope) -> AsyncIterator[pb.WatchClustersResponse]:
        ids = [scope.cluster] if scope.cluster else await self._store.ids(scope.owner, living=True)
        for start in range(0, len(ids), 16):
            for cluster in await self._store.get_many(ids[start : start + 16]):
                yield pb.WatchClustersResponse(cluster=self._views.proto(cluster))
                if scope.events:
                    for event in await self._store.events(cluster.id, "", _EVENTS_AT_ONCE):
                        yield pb.WatchClustersResponse(event=convert.event(cluster.id, event))

    async def _steps(self, changes: Sequence[Change]) -> list[pb.WatchClustersResponse]:
        """The steps that tell these changes: of each cluster only how it is now."""
        newest = {change.cluster: change for change in changes if change.kind in _RECORD}
        revisions = {cluster: change.revision for cluster, change in newest.items()}
        found = {cluster.id: cluster for cluster in await self._views.at_least(revisions)}
        told = [change for change in changes if change.kind not in _RECORD or newest[change.cluster] is change]
        return [step for change in told if (step := self._step(change, found)) is not None]

    def _step(self, change: Change, found: dict[ClusterId, Cluster]) -> pb.WatchClustersResponse | None:
        if change.kind is ChangeKind.REMOVED:
            return pb.WatchClustersResponse(removed=cluster_name(change.cluster))
        if change.event is not None:
            return pb.WatchClustersResponse(event=convert.event(change.cluster, change.event))
        cluster = found.get(change.cluster)
        return cluster and pb.WatchClustersResponse(cluster=self._views.proto(cluster))

    def _checkpoint(self, position: str) -> pb.WatchClustersResponse:
        checkpoint = pb.Checkpoint(time=convert.timestamp(self._clock()))
        return pb.WatchClustersResponse(checkpoint=checkpoint, resume_token=position)


def _checked(resume_token: str) -> str:
    if resume_token and not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", resume_token):
        raise InvalidRequest.of(Violation("resume_token", "is not a token of this service"))
    return resume_token
