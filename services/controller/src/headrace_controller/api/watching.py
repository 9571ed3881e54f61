"""Watches: the current state, a checkpoint, then changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress

from headrace.errors import InvalidRequest, ResumeTokenTooOld, Violation
from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller import metrics
from headrace_controller.api import convert
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.views import Views
from headrace_controller.api.watch_scope import Scope
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster
from headrace_controller.store import Change, ChangeKind, RecordUnreadable, Store, reaches
from headrace_controller.store.values import is_version

# Number of clusters that are read with their events at a time.
_AT_ONCE = 64
_EVENTS_OF_EACH = 1000

Response = pb.WatchClustersResponse


class Watching:
    """Answers WatchClusters."""

    def __init__(
        self,
        store: Store,
        mirror: ClusterMirror,
        access: ClusterAccess,
        views: Views,
        *,
        checkpoint_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._access = access
        self._views = views
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock

    async def watch(self, request: pb.WatchClustersRequest, caller: Caller) -> AsyncIterator[Response]:
        """Stream until cancelled."""
        position = await self._position(request.resume_token)
        scope = await Scope.of(request, caller, self._access)
        with metrics.WATCHES.track_inprogress():
            if not position:
                # The state has every change up to here, and perhaps some of those after, which are sent again.
                position = await self._store.changes.head()
                await self._mirror.fresh()
                async for response in self._state(scope):
                    yield response
                yield self._checkpoint(position)
            async for response in self._changes(scope, position):
                yield response

    async def _position(self, resume_token: str) -> str:
        if not resume_token:
            return ""
        if not is_version(resume_token):
            raise InvalidRequest.of(Violation("resume_token", "is not a resume token of this service"))
        # One from the future would match nothing for long. An honest one is, if the store has lost what came last.
        if not reaches(await self._store.changes.head(), resume_token):
            raise ResumeTokenTooOld(f"the history does not reach {resume_token}; watch again without a resume token")
        return resume_token

    async def _state(self, scope: Scope) -> AsyncIterator[Response]:
        matching = [cluster for cluster in scope.clusters(self._mirror) if scope.starts_with(cluster)]
        for start in range(0, len(matching), _AT_ONCE):
            portion = matching[start : start + _AT_ONCE]
            ids = [cluster.id for cluster in portion]
            events = await self._store.events.list_many(ids, count=_EVENTS_OF_EACH) if scope.events else {}
            for cluster in portion:
                for response in self._shown(scope, cluster):
                    yield response
                for event in events.get(cluster.id, ()):
                    yield Response(event=convert.event(cluster.id, event))
            await asyncio.sleep(0)

    async def _changes(self, scope: Scope, position: str) -> AsyncIterator[Response]:
        loop = asyncio.get_running_loop()
        checkpoint_due = loop.time() + self._checkpoint_seconds
        to_next_end = scope.check(self._mirror, self._access)
        while True:
            before = position
            within = min(checkpoint_due - loop.time(), to_next_end)
            changes, position = await self._mirror.changes.about(scope.topic, position, within)
            to_next_end = scope.check(self._mirror, self._access)
            responses = list(self._responses(scope, changes))
            for response in responses:
                # Resuming in the middle of these would skip the rest: only the last one moves on.
                response.resume_token = position if response is responses[-1] else before
                yield response
            is_due = loop.time() >= checkpoint_due
            if is_due or to_next_end <= 0:
                for response in self._settled(scope):
                    yield response
                to_next_end = scope.check(self._mirror, self._access)
            if is_due:
                checkpoint_due = loop.time() + self._checkpoint_seconds
                yield self._checkpoint(position)

    def _responses(self, scope: Scope, changes: Sequence[Change]) -> Iterator[Response]:
        """Yield what reports these changes: each changed cluster once, as it is now, where it changed last."""
        last = {change.cluster: change for change in changes if change.kind is ChangeKind.RECORD}
        for change in changes:
            cluster = self._mirror.get(change.cluster)
            if not scope.accepts(change, cluster):
                continue
            if change.kind is ChangeKind.REMOVED or (cluster is not None and scope.hides(cluster)):
                yield Response(removed=cluster_name(change.cluster))
            elif change.event is not None:
                if scope.events:
                    yield Response(event=convert.event(change.cluster, change.event))
            elif last.get(change.cluster) is change and cluster is not None:
                yield from self._shown(scope, cluster)

    def _settled(self, scope: Scope) -> Iterator[Response]:
        """Yield what has changed for the client without a change of a record."""
        hidden, new = scope.settle(self._mirror)
        for id_ in hidden:
            yield Response(removed=cluster_name(id_))
        for cluster in new:
            yield from self._shown(scope, cluster)

    def _shown(self, scope: Scope, cluster: Cluster) -> Iterator[Response]:
        """Yield a cluster; nothing if it cannot be shown, which must not end the watch of others."""
        with suppress(RecordUnreadable):
            yield Response(cluster=self._views.get(cluster, full=scope.full))

    def _checkpoint(self, position: str) -> Response:
        return Response(checkpoint=pb.Checkpoint(time=convert.timestamp(self._clock())), resume_token=position)
