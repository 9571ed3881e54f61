"""What one watch is about, and which clusters its client knows."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from headrace.errors import ClusterNotFound, InvalidRequest, Violation
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.access import ClusterAccess
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
            if request.filter.include_shared:
                text = "cannot be watched: watch clusters of others by name"
                raise InvalidRequest.of(Violation("filter.include_shared", text))
            target = Filter.read(request.filter, caller)
        return cls(
            caller,
            target,
            full=request.view == pb.CLUSTER_VIEW_FULL,
            events=request.include_events,
            resumed=bool(request.resume_token),
        )

    @property
    def topic(self) -> Topic | None:
        """The topic of all changes that can matter; None means every change."""
        if not isinstance(self._target, Filter):
            return "cluster", self._target
        return None if self._target.owner is None else ("owner", self._target.owner)

    def ids(self, mirror: ClusterMirror) -> Sequence[ClusterId]:
        """Return the clusters that can match."""
        if isinstance(self._target, Filter):
            return mirror.ids(self._target.owner, living=self._target.living)
        return [self._target]

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
        """Raise `ClusterNotFound` if the caller may no longer view the cluster; return seconds to the next check."""
        if isinstance(self._target, Filter) or (cluster := mirror.get(self._target)) is None:
            return inf
        if not access.may(cluster, self._caller, Right.CLUSTER_VIEW):
            raise ClusterNotFound(f"cluster {self._target} is no longer shared with you")
        return access.seconds_to_next_end(cluster)
