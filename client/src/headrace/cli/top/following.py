"""The clusters as they are now, by one watch of them all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from headrace import errors
from headrace._wire import calls
from headrace._wire.connection import TRANSIENT, Connection
from headrace._wire.resuming import resume
from headrace.v1 import cluster_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersRequest, WatchClustersResponse


class Following:
    """Living clusters of one user or of all, by their names. `trouble` says why they are not up to date, if so.

    Parameters
    ----------
    owner
        A user id, "-" for all users, or "" for the caller and what others share with the caller.
    changed
        Called after each change, and for each sign that the server still answers.
    """

    def __init__(self, connection: Connection, owner: str, changed: Callable[[], None]) -> None:
        self.clusters: dict[str, cluster_pb2.Cluster] = {}
        self.complete = False
        self.trouble = ""
        self._connection = connection
        self._changed = changed
        self._before: set[str] = set()
        self._request = WatchClustersRequest(filter=calls.cluster_filter(owner=owner, shared=not owner))

    async def run(self) -> None:
        """Follow without end. Raises what the server refuses, and why it cannot be reached at first."""
        request, method = self._request, self._connection.clusters.WatchClusters
        while True:
            try:
                steps = resume(
                    self._connection, method, request, _remember, doing="watching clusters", tell=self._interrupted
                )
                async with aclosing(steps):
                    async for step in steps:
                        self.trouble = ""
                        self._take(step)
                        self._changed()
            except errors.ResumeTokenTooOld:
                self._begin_again()
            except errors.InvalidRequest:
                if not request.filter.include_shared:
                    raise
                request.filter.include_shared = False  # a server of an earlier release watches no shared ones
            except TRANSIENT as error:
                if not self.complete or isinstance(error, errors.NotHeadrace):
                    raise
                self._interrupted(error)

    def _interrupted(self, error: errors.HeadraceError) -> None:
        self.trouble = f"not up to date, trying again: {error}"
        self._begin_again()  # so that something comes as soon as the server is back

    def _begin_again(self) -> None:
        """Have everything sent again: what is not in it ended meanwhile."""
        self._request.resume_token, self._before = "", set(self.clusters)

    def _take(self, step: WatchClustersResponse) -> None:
        match step.WhichOneof("change"):
            case "cluster" if step.cluster.status.phase in calls.LIVING:
                self.clusters[step.cluster.name] = step.cluster
                self._before.discard(step.cluster.name)
            case "cluster":
                self.clusters.pop(step.cluster.name, None)
            case "removed":
                self.clusters.pop(step.removed, None)
            case "checkpoint":
                for name in self._before:
                    self.clusters.pop(name, None)
                self._before, self.complete = set(), True
            case _:  # of a newer server
                pass


def _remember(request: WatchClustersRequest, step: WatchClustersResponse) -> None:
    request.resume_token = step.resume_token or request.resume_token
