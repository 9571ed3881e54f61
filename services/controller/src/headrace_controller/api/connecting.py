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
    """Answers ConnectCluster.

    Parameters
    ----------
    guest_seconds
        How long the certificate of one who connects through a share is good, at most.
    """

    def __init__(
        self, access: ClusterAccess, authorities: Authorities, *, sni_suffix: str, guest_seconds: float
    ) -> None:
        self._access = access
        self._authorities = authorities
        self._sni_suffix = sni_suffix
        self._guest_seconds = guest_seconds

    async def connect(self, name: str, caller: Caller) -> pb.ConnectClusterResponse:
        cluster = await self._access.get(name, caller)
        if cluster.stopping:
            raise _ended(cluster)
        members, seconds = self._access.connects_through(cluster, caller)
        if seconds is not None:
            seconds = min(seconds, self._guest_seconds)
        ca_pem, leaf = await self._authorities.issue_client(cluster.id, caller.user, members, guest_seconds=seconds)
        return pb.ConnectClusterResponse(
            direct_address=cluster.report.scheduler_address,
            server_name=f"{cluster.id}.{self._sni_suffix}",
            ca_pem=ca_pem,
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
