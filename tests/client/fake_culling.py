"""CullingService of the fake headrace: keeps clusters for a day at most, or as a test says, and lists what a test sets.

`tests/contract/test_culling_service.py` holds KeepCluster to the real one.
"""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from headrace import errors
from headrace.cli.output import duration
from headrace.v1 import cluster_pb2, culling_service_pb2_grpc
from headrace.v1 import culling_service_pb2 as pb

if TYPE_CHECKING:
    from tests.client.fake_clusters import FakeClusters


class FakeCulling(culling_service_pb2_grpc.CullingServiceServicer):
    """`keep_seconds` is how long it keeps clusters at most, `cullings` is what ListCulling answers, `culled` are the
    names that CullCluster was called with.
    """

    def __init__(self, clusters: FakeClusters) -> None:
        self._clusters = clusters
        self.keep_seconds = 86_400
        self.cullings: list[pb.Culling] = []
        self.culled: list[str] = []

    def KeepCluster(self, request: pb.KeepClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._clusters.living(request.name, context)
        seconds = request.duration.ToMilliseconds() / 1000
        if seconds <= 0:
            raise errors.InvalidRequest.of(errors.Violation("duration", "must be more than 0 s"))
        if seconds > self.keep_seconds:
            text = f"the policy allows at most {duration(self.keep_seconds)} at once"
            raise errors.KeepRefused(text, {"seconds": str(self.keep_seconds)})
        until = max(time.time() + seconds, cluster.record.spec.keep_until_time.ToMilliseconds() / 1000)
        cluster.record.spec.keep_until_time.FromMilliseconds(round(until * 1000))
        self._clusters.add_event(cluster, "The warning is withdrawn.", type_=cluster_pb2.EVENT_TYPE_CULLING_WITHDRAWN)
        return cluster.record

    def ListCulling(self, request: pb.ListCullingRequest, context: Any) -> pb.ListCullingResponse:
        return pb.ListCullingResponse(cullings=self.cullings)

    def CullCluster(self, request: pb.CullClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._clusters.living(request.name, context)
        self.culled.append(request.name)
        return cluster.record
