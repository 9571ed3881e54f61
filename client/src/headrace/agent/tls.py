"""TLS of a Dask process: certificates in memory, renewable while the process runs."""

from __future__ import annotations

import contextlib
import os
import ssl
import weakref
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from distributed.core import Status
from distributed.protocol.pickle import dumps
from distributed.security import Security

from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Nanny, Worker


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts: the cluster's authority, a certificate and its key."""

    ca: str
    cert: str
    key: str = field(repr=False)


def certificates_of(enrollment: pb.EnrollResponse) -> Certificates:
    """Returns the certificates that a process got when it enrolled."""
    return Certificates(ca=enrollment.ca_pem, cert=enrollment.certificate_pem, key=enrollment.private_key_pem)


class RenewableSecurity(Security):
    """Dask's security settings from PEM texts; `renew` changes the certificate of all later connections.

    Dask creates its TLS contexts once. A context accepts a new certificate while it is in use, so all contexts that
    were handed out are remembered.
    """

    _contexts: weakref.WeakSet[ssl.SSLContext]

    def __init__(self, certificates: Certificates) -> None:
        super().__init__(require_encryption=True, **_fields(certificates))
        self._contexts = weakref.WeakSet()

    def renew(self, certificates: Certificates) -> None:
        """Replaces the certificates for all connections that are made from now on."""
        for name, pem in _fields(certificates).items():
            setattr(self, name, pem)
        with _memory_file(certificates.cert, certificates.key) as chain:
            for context in self._contexts:
                context.load_cert_chain(chain)
                context.load_verify_locations(cadata=certificates.ca)

    def _get_tls_context(self, tls: Mapping[str, str], purpose: ssl.Purpose) -> ssl.SSLContext:
        """Creates a context without writing the key to a disk, as Dask would do with PEM texts."""
        if not hasattr(os, "memfd_create"):
            return self._remember(super()._get_tls_context(tls, purpose))
        with _memory_file(tls["cert"], tls["key"]) as chain:
            return self._remember(super()._get_tls_context({**tls, "cert": str(chain), "key": None}, purpose))

    def _remember(self, context: ssl.SSLContext | None) -> ssl.SSLContext:
        assert context is not None  # it is None only without certificates
        self._contexts.add(context)
        return context

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in Security.__slots__}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._contexts = weakref.WeakSet()


def _fields(certificates: Certificates) -> dict[str, str]:
    fields = {"tls_ca_file": certificates.ca}
    for role in ("scheduler", "worker", "client"):
        fields[f"tls_{role}_cert"] = certificates.cert
        fields[f"tls_{role}_key"] = certificates.key
    return fields


@contextlib.contextmanager
def _memory_file(*pems: str) -> Generator[Path]:
    """OpenSSL reads certificates from files only: yields the path of one in memory."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, "\n".join(pems).encode())
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


async def install_in_worker(nanny: Nanny, certificates: Certificates) -> None:
    """Renews the certificates of the worker process; one that starts later gets them from its nanny."""
    if (process := nanny.process) is not None and process.status is Status.starting:
        await process.running.wait()  # it may have got the certificates of before
    if nanny.worker_address is not None:
        async with nanny.rpc(nanny.worker_address) as worker:
            await worker.run(function=dumps(_renew), kwargs=dumps({"certificates": certificates}))


def _renew(certificates: Certificates, dask_worker: Worker) -> None:
    security = dask_worker.security
    if isinstance(security, RenewableSecurity):
        security.renew(certificates)
