"""What one watch is about, and which clusters its client knows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf

from typing_extensions import override

from headrace.errors import ClusterNotFound, ResumeTokenTooOld
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.access import ClusterAccess, as_user
from headrace_controller.api.filters import Filter
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import Change, ChangeKind, Topic


class Scope:
    """One cluster, or those that match a filter.

    A cluster that no longer matches is sent once more, so that its client sees why. The client of a new watch knows no
    cluster as one that matches, the client of a resumed one may know any; the scope keeps the exceptions.
    """

    def __init__(self, caller: Caller, target: ClusterId | Filter, *, full: bool, events: bool, resumed: bool) -> None:
        self.full = full
        self.events = events
        self._caller = caller
        self._target = target
        self._resumed = resumed
        self._exceptions: set[ClusterId] = set()
        self._leaving: ClusterId | None = None

    @classmethod
    async def of(cls, request: pb.WatchClustersRequest, caller: Caller, access: ClusterAccess) -> Scope:
        """Read a request; raise if the caller may not see what it is about."""
        target: ClusterId | Filter
        if request.WhichOneof("target") == "name":
            target = (await access.get(request.name, caller, right=Right.CLUSTER_VIEW)).id
        else:
            target = Filter.read(request.filter, caller)
        full, events = request.view == pb.CLUSTER_VIEW_FULL, request.include_events
        if isinstance(target, Filter) and target.shared:
            if request.resume_token:
                raise ResumeTokenTooOld("a watch of shared clusters cannot go on: watch again without a resume token")
            return _SharedScope(caller, target, access, full=full, events=events)
        return cls(caller, target, full=full, events=events, resumed=bool(request.resume_token))

    @property
    def topic(self) -> Topic | None:
        """The topic of all changes that can matter; None means every change."""
        if not isinstance(self._target, Filter):
            return "cluster", self._target
        return None if self._target.owner is None else ("owner", self._target.owner)

    def clusters(self, mirror: ClusterMirror) -> list[Cluster]:
        """Return the clusters that can match."""
        if isinstance(self._target, Filter):
            ids = mirror.ids(self._target.owner, living=self._target.living)
        else:
            ids = [self._target]
        return [cluster for id_ in ids if (cluster := mirror.get(id_)) is not None]

    def starts_with(self, cluster: Cluster) -> bool:
        """Return whether to send a cluster with the initial state."""
        matches = self._matches(cluster)
        self._note(cluster.id, known=matches)
        return matches

    def accepts(self, change: Change, cluster: Cluster | None) -> bool:
        """Return whether to send a change of a cluster, given its newest record."""
        self._dismiss_before(change)
        known = self._knows(change.cluster)
        if cluster is None:
            if change.kind is ChangeKind.REMOVED:
                self._note(change.cluster, known=False)
            return known
        if self._matches(cluster):
            self._note(change.cluster, known=True)
            return True
        if known and change.revision >= cluster.revision:
            self._leaving = change.cluster
        return known

    def hides(self, cluster: Cluster) -> bool:  # noqa: ARG002 `check` ends the watch of one cluster
        """Return whether the caller may not see a cluster that the client knows: it is to be told of as removed."""
        return False

    def settle(self, mirror: ClusterMirror) -> tuple[Sequence[ClusterId], Sequence[Cluster]]:  # noqa: ARG002
        """Return which clusters the caller sees no longer, and which now, without a change of their records."""
        return (), ()

    def _matches(self, cluster: Cluster) -> bool:
        return not isinstance(self._target, Filter) or self._target.matches(cluster)

    def _knows(self, cluster: ClusterId) -> bool:
        return (cluster in self._exceptions) is not self._resumed

    def _note(self, cluster: ClusterId, *, known: bool) -> None:
        if known is self._resumed:
            self._exceptions.discard(cluster)
        else:
            self._exceptions.add(cluster)

    def _dismiss_before(self, change: Change) -> None:
        # The events of a write follow it immediately: they explain why the cluster no longer matches.
        if self._leaving is not None and (change.event is None or change.cluster != self._leaving):
            self._note(self._leaving, known=False)
            self._leaving = None

    def check(self, mirror: ClusterMirror, access: ClusterAccess) -> float:
        """Raise `ClusterNotFound` if the caller may no longer view the cluster; return seconds to the next end."""
        if isinstance(self._target, Filter) or (cluster := mirror.get(self._target)) is None:
            return inf
        if not access.may(cluster, self._caller, Right.CLUSTER_VIEW):
            raise ClusterNotFound(f"cluster {self._target} is no longer shared with you")
        return access.seconds_to_next_end(cluster)


class _SharedScope(Scope):
    """The caller's clusters and those of others that the caller may see, at each moment.

    Which these are depends on more than the changes of records: shares end at their time, and operators come and go
    with the policy. The client of such a watch knows exactly what it was sent, so that nobody learns of others.
    """

    def __init__(self, caller: Caller, wanted: Filter, access: ClusterAccess, *, full: bool, events: bool) -> None:
        super().__init__(as_user(caller), wanted, full=full, events=events, resumed=False)
        self._wanted = wanted
        self._access = access
        self._next_end = inf

    @override
    def clusters(self, mirror: ClusterMirror) -> list[Cluster]:
        found = self._access.matching(self._wanted, self._caller, Right.CLUSTER_VIEW, living=self._wanted.living)
        return [cluster for cluster in found if cluster is not None]

    @override
    def starts_with(self, cluster: Cluster) -> bool:
        self._expect_end(cluster)
        return super().starts_with(cluster)

    @override
    def accepts(self, change: Change, cluster: Cluster | None) -> bool:
        if cluster is not None and self.hides(cluster):
            known = self._knows(cluster.id)
            self._note(cluster.id, known=False)
            return known
        accepted = super().accepts(change, cluster)
        if accepted and cluster is not None:
            self._expect_end(cluster)
        return accepted

    @override
    def hides(self, cluster: Cluster) -> bool:
        return not self._access.may(cluster, self._caller, Right.CLUSTER_VIEW)

    @override
    def settle(self, mirror: ClusterMirror) -> tuple[Sequence[ClusterId], Sequence[Cluster]]:
        self._next_end = inf
        known, seen = set(self._exceptions), self.clusters(mirror)
        hidden = [id_ for id_ in known if (cluster := mirror.get(id_)) is not None and self.hides(cluster)]
        for id_ in hidden:
            self._note(id_, known=False)
        return hidden, [cluster for cluster in seen if self.starts_with(cluster) and cluster.id not in known]

    @override
    def check(self, mirror: ClusterMirror, access: ClusterAccess) -> float:
        return self._next_end - asyncio.get_running_loop().time()

    @override
    def _matches(self, cluster: Cluster) -> bool:
        return super()._matches(cluster) and not self.hides(cluster)

    def _expect_end(self, cluster: Cluster) -> None:
        now = asyncio.get_running_loop().time()
        self._next_end = min(self._next_end, now + self._access.seconds_to_next_end(cluster))
