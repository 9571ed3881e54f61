"""Stops all clusters as their owners would, so that their records are complete. Runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from headrace.v1 import auth_service_pb2 as auth
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub
from headrace_up.layout import Layout

ENDED = (cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED)
OPTIONS = (("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0))

Metadata = tuple[tuple[str, str], ...]


def stop_clusters(layout: Layout, secret: str, within: float) -> None:
    """Return when every cluster has ended, and after `within` seconds at the latest."""
    deadline = time.monotonic() + within

    def left() -> float:
        return max(0.001, deadline - time.monotonic())

    try:
        metadata = _log_in(layout, secret, left())
        with grpc.insecure_channel(layout.target("controller"), options=OPTIONS) as channel:
            _stop(ClusterServiceStub(channel), metadata, left)
    except grpc.RpcError as error:
        print(f"some clusters may not have been stopped: {error}")


def _log_in(layout: Layout, secret: str, timeout: float) -> Metadata:
    request = auth.LoginRequest(token=auth.TokenCredential(token=secret))
    with grpc.insecure_channel(layout.target("auth"), options=OPTIONS) as channel:
        login = AuthServiceStub(channel).Login(request, timeout=timeout)
    return (("authorization", f"Bearer {login.access_token}"),)


def _stop(clusters: ClusterServiceStub, metadata: Metadata, left: Callable[[], float]) -> None:
    everybodys = pb.ClusterFilter(owner="users/-")
    batch = pb.BatchStopClustersRequest(filter=everybodys)
    living = set(clusters.BatchStopClusters(batch, metadata=metadata, timeout=left()).stopped)
    seen: set[str] = set()
    if not living:
        return
    watch = pb.WatchClustersRequest(filter=everybodys)
    for step in clusters.WatchClusters(watch, metadata=metadata, timeout=left()):
        match step.WhichOneof("change"):
            case "cluster" if step.cluster.status.phase in ENDED:
                living.discard(step.cluster.name)
            case "cluster":
                seen.add(step.cluster.name)
            case "removed":
                living.discard(step.removed)
            case "checkpoint":
                living &= seen  # the others ended before the watch began
            case _:
                pass
        if not living:
            return
