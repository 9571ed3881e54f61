"""LimitsService of the fake headrace: the limits that bind where the policy has none.

`tests/contract/test_limits_service.py` holds it to the real one.
"""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.client.fake_cluster import LIVING

from headrace import errors
from headrace.v1 import limits_service_pb2 as pb
from headrace.v1 import limits_service_pb2_grpc

if TYPE_CHECKING:
    from tests.client.fake_clusters import FakeClusters


class FakeLimits(limits_service_pb2_grpc.LimitsServiceServicer):
    """`queue` is how many clusters of the caller, and of everybody, wait."""

    def __init__(self, clusters: FakeClusters, caller: Callable[[Any], str]) -> None:
        self._clusters = clusters
        self._caller = caller
        self.queue: tuple[int, int] = (0, 0)

    def GetLimits(self, request: pb.GetLimitsRequest, context: Any) -> pb.GetLimitsResponse:
        caller = self._caller(context)
        user = request.user or caller
        if not user.startswith("users/"):
            raise errors.InvalidRequest.of(errors.Violation("user", "must be users/{user}"))
        if user != caller and caller not in self._clusters.admins:
            raise errors.PermissionDenied(f"{caller} may not see the limits of others; only admins may")
        records = [cluster.record for cluster in self._clusters.clusters.values()]
        own = [record for record in records if record.owner == user and record.status.phase in LIVING]
        workers = sum(group.size for record in own for group in record.spec.worker_groups)
        limits = [
            pb.Limit(subject="clusters/-", resource="workers", limit=1000),
            pb.Limit(subject="clusters/-", resource="memory_bytes", limit=2**50),
            pb.Limit(subject=user, resource="clusters", limit=100, used=len(own)),
            pb.Limit(subject=user, resource="workers", limit=1000, used=workers),
        ]
        queued, length = self.queue
        return pb.GetLimitsResponse(limits=limits, queued=queued, queue_length=length)
