"""ConnectCluster: addresses of a scheduler, and a client certificate."""

from __future__ import annotations

from headrace.errors import ClusterEnded
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller.api import convert
from headrace_controller.api.access import ClusterAccess
from headrace_controller.authorities import Authorities
from headrace_controller.model import Cluster


class Connecting:
    """Answers ConnectCluster."""

    def __init__(self, access: ClusterAccess, authorities: Authorities, *, sni_suffix: str) -> None:
        self._access = access
        self._authorities = authorities
        self._sni_suffix = sni_suffix

    async def connect(self, name: str, caller: Caller) -> pb.ConnectClusterResponse:
        cluster = await self._access.get(name, caller)
        if cluster.stopping:
            raise _ended(cluster)
        authority, leaf = await self._authorities.issue_client(cluster.id, caller.user)
        return pb.ConnectClusterResponse(
            direct_address=cluster.report.scheduler_address,
            server_name=f"{cluster.id}.{self._sni_suffix}",
            ca_pem=authority.cert_pem.decode(),
            certificate_pem=leaf.cert_pem.decode(),
            private_key_pem=leaf.key_pem.decode(),
            expire_time=convert.timestamp(leaf.expire_time.timestamp()),
        )


def _ended(cluster: Cluster) -> ClusterEnded:
    status = cluster.status
    if status.phase.ended:
        text = f"cluster {cluster.id} has ended ({status.phase}): {status.message or 'create a new one'}"
    else:
        text = f"cluster {cluster.id} is stopping: {status.message or 'a user stopped it'}"
    return ClusterEnded(text, {"reason": status.reason or ""})
