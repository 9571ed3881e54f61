"""Stops all clusters as their owners would, so that their records say so afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from headrace.v1 import auth_service_pb2 as auth
from headrace.v1 import cluster_pb2, cluster_service_pb2
from headrace.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub
from headrace_up.layout import Layout

ENDED = (cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED)
EVERYBODY = "users/-"
OPTIONS = (("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0))


def stop_clusters(layout: Layout, secret: str, within: float) -> bool:
    """Returns whether every cluster had ended in time; False also when the services do not answer."""
    deadline = time.monotonic() + within

    def left() -> float:
        return max(0.001, deadline - time.monotonic())

    try:
        metadata = _log_in(layout, secret, left())
        with grpc.insecure_channel(layout.target("controller"), options=OPTIONS) as channel:
            return _stop(ClusterServiceStub(channel), metadata, left)
    except grpc.RpcError:
        return False


def _log_in(layout: Layout, secret: str, timeout: float) -> tuple[tuple[str, str], ...]:
    request = auth.LoginRequest(token=auth.TokenCredential(token=secret))
    with grpc.insecure_channel(layout.target("auth"), options=OPTIONS) as channel:
        login = AuthServiceStub(channel).Login(request, timeout=timeout)
    return (("authorization", f"Bearer {login.access_token}"),)


def _stop(clusters: ClusterServiceStub, metadata: tuple[tuple[str, str], ...], left: Callable[[], float]) -> bool:
    everybodys = cluster_service_pb2.ListClustersRequest(owner=EVERYBODY, page_size=1000)
    living = {c.name: c.owner for c in clusters.ListClusters(everybodys, metadata=metadata, timeout=left()).clusters}
    for owner in set(living.values()):
        request = cluster_service_pb2.StopAllClustersRequest(owner=owner)
        clusters.StopAllClusters(request, metadata=metadata, timeout=left())
    if not living:
        return True
    watch = cluster_service_pb2.WatchClustersRequest(owner=EVERYBODY)
    for step in clusters.WatchClusters(watch, metadata=metadata, timeout=left()):
        if step.cluster.status.phase in ENDED:
            living.pop(step.cluster.name, None)
        if not living:
            return True
    return False
