"""The nanny passes renewed certificates on to its worker process, over their own encrypted connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.protocol.pickle import dumps

from headrace.agent.tls import Certificates, RenewableSecurity

if TYPE_CHECKING:
    from distributed import Nanny, Worker


async def install_in_worker(nanny: Nanny, certificates: Certificates) -> None:
    """Renews the certificates of the running worker process; one that starts later gets them from its nanny."""
    if nanny.worker_address is not None:
        async with nanny.rpc(nanny.worker_address) as worker:
            await worker.run(function=dumps(_renew), kwargs=dumps({"certificates": certificates}))


def _renew(certificates: Certificates, dask_worker: Worker) -> None:
    security = dask_worker.security
    if isinstance(security, RenewableSecurity):
        security.renew(certificates)
