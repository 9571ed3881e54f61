"""What a client needs to reach a scheduler: addresses and a certificate of its own."""

from __future__ import annotations

from headrace.errors import ClusterEnded
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller.clusters.access import Access
from headrace_controller.clusters.authorities import Authorities


class Connecting:
    """Answers ConnectCluster."""

    def __init__(self, access: Access, authorities: Authorities, *, sni_suffix: str) -> None:
        self._access = access
        self._authorities = authorities
        self._sni_suffix = sni_suffix

    async def connect(self, name: str, caller: Caller) -> pb.ConnectClusterResponse:
        """Addresses and a certificate."""
        cluster = await self._access.get(name, caller)
        if cluster.spec.stop or cluster.status.phase.ended:
            raise ClusterEnded(
                f"cluster {cluster.id} is {cluster.status.phase}: {cluster.status.message or 'it was asked to end'}",
                {"reason": cluster.status.reason or cluster.spec.stop or ""},
            )
        authority, leaf = await self._authorities.issue_client(cluster.id, caller.user)
        response = pb.ConnectClusterResponse(
            direct_address=cluster.report.scheduler_address,
            server_name=f"{cluster.id}.{self._sni_suffix}",
            ca_pem=authority.cert_pem.decode(),
            certificate_pem=leaf.cert_pem.decode(),
            private_key_pem=leaf.key_pem.decode(),
        )
        response.expire_time.FromDatetime(leaf.expire_time)
        return response
