"""LimitsService of the fake headrace: the limits that bind where the policy has none, and those that admins set.

`tests/contract/test_limits_service.py` holds it to the real one.
"""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
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
        self._exceptions: dict[tuple[str, str], pb.LimitException] = {}

    def GetLimits(self, request: pb.GetLimitsRequest, context: Any) -> pb.GetLimitsResponse:
        caller = self._caller(context)
        user = request.user or caller
        if not user.startswith("users/"):
            raise errors.InvalidRequest.of(errors.Violation("user", "must be users/{user}"))
        if user != caller and caller not in self._clusters.admins:
            raise errors.PermissionDenied(f"{caller} may not see the limits of others; only admins may")
        records = [cluster.record for cluster in list(self._clusters.clusters.values())]
        own = [record for record in records if record.owner == user and record.status.phase in LIVING]
        workers = sum(group.size for record in own for group in record.spec.worker_groups)
        limits = [
            pb.Limit(subject="clusters/-", resource="workers", limit=1000),
            pb.Limit(subject="clusters/-", resource="memory_bytes", limit=2**50),
            pb.Limit(subject=user, resource="clusters", limit=100, used=len(own)),
            pb.Limit(subject=user, resource="workers", limit=1000, used=workers),
        ]
        for limit in limits:
            if (exception := self._exceptions.get((limit.subject, limit.resource))) is not None:
                limit.limit = exception.limit
                limit.exception.CopyFrom(exception)
        queued, length = self.queue
        return pb.GetLimitsResponse(limits=limits, queued=queued, queue_length=length)

    def SetLimitExceptions(self, request: pb.SetLimitExceptionsRequest, context: Any) -> pb.SetLimitExceptionsResponse:
        caller = self._admin(context)
        now = Timestamp()
        now.GetCurrentTime()
        end = Timestamp(seconds=now.seconds + (request.duration.seconds or 7 * 86_400))
        for resource, limit in request.limits.items():
            self._exceptions[request.subject, resource] = pb.LimitException(
                subject=request.subject,
                resource=resource,
                limit=float(limit),
                set_time=now,
                end_time=end,
                set_by=caller,
                reason=request.reason,
            )
        return pb.SetLimitExceptionsResponse(
            exceptions=[self._exceptions[request.subject, resource] for resource in request.limits]
        )

    def ListLimitExceptions(
        self, request: pb.ListLimitExceptionsRequest, context: Any
    ) -> pb.ListLimitExceptionsResponse:
        self._admin(context)
        return pb.ListLimitExceptionsResponse(exceptions=self._exceptions.values())

    def RemoveLimitExceptions(
        self, request: pb.RemoveLimitExceptionsRequest, context: Any
    ) -> pb.RemoveLimitExceptionsResponse:
        self._admin(context)
        gone = [
            key
            for key in self._exceptions
            if key[0] == request.subject and (not request.resources or key[1] in request.resources)
        ]
        return pb.RemoveLimitExceptionsResponse(exceptions=[self._exceptions.pop(key) for key in gone])

    def _admin(self, context: Any) -> str:
        caller = self._caller(context)
        if caller not in self._clusters.admins:
            raise errors.PermissionDenied(f"{caller} may not set limits; only admins may")
        return caller
