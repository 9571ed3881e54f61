"""What a `distributed.Client` needs to connect to one cluster, in this process and in others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from distributed.security import Security

from headrace._dask import comm
from headrace._dask.scheduler_access import SchedulerAccess
from headrace.v1 import cluster_service_pb2


class GatewaySecurity(Security):
    """Security of one cluster, for `distributed.Client`. Its certificate is renewed automatically.

    It can be pickled, for another process to connect: with the certificate, its private key and the addresses of the
    cluster, and without your login. There it cannot be renewed: new connections are possible until it expires.
    """

    def __init__(self, access: SchedulerAccess) -> None:
        super().__init__(require_encryption=True)
        self._access = access

    def get_connection_args(self, role: str) -> dict[str, Any]:  # noqa: ARG002 - there is one role: the client
        return {"ssl_context": self._access.context, "require_encryption": True}

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:  # noqa: ARG002
        facts = self._access.facts
        if facts is None:
            return {"ca_file": None, "ciphers": None, "cert": None, "key": None}
        pems = {"ca_file": facts.ca_pem, "cert": facts.certificate_pem, "key": facts.private_key_pem}
        return {**pems, "ciphers": None}

    def __reduce__(self) -> tuple[Callable[[str, bytes], GatewaySecurity], tuple[str, bytes]]:
        return _restore, (self._access.cluster, self._access.ready_facts().SerializeToString())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"GatewaySecurity<{self._access.cluster}>"

    def _repr_html_(self) -> str:
        return f"<code>{self!r}</code>"


def _restore(cluster: str, facts: bytes) -> GatewaySecurity:
    """Make the security that another process pickled."""
    comm.register()
    access = SchedulerAccess(cluster=cluster)
    access.use(cluster_service_pb2.ConnectClusterResponse.FromString(facts))
    return GatewaySecurity(access)
