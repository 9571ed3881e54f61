"""TLS of a Dask process: from certificates in memory, and renewable while it runs."""

from __future__ import annotations

import contextlib
import os
import ssl
import weakref
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distributed.security import Security

from headrace.internal.v1 import agent_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts: the cluster's authority, a certificate and its key."""

    ca: str
    cert: str
    key: str = field(repr=False)


def certificates_of(enrollment: pb.EnrollResponse) -> Certificates:
    """What enrolment gave."""
    return Certificates(ca=enrollment.ca_pem, cert=enrollment.certificate_pem, key=enrollment.private_key_pem)


class RenewableSecurity(Security):
    """Dask's security settings from PEM texts; `renew` changes the certificate of all later connections.

    Dask makes its TLS contexts once; contexts take a new certificate while they are in use, so those that were handed
    out are remembered.
    """

    _contexts: weakref.WeakSet[ssl.SSLContext]

    def __init__(self, certificates: Certificates) -> None:
        super().__init__(require_encryption=True, **_fields(certificates))
        self._contexts = weakref.WeakSet()

    def renew(self, certificates: Certificates) -> None:
        """Takes other certificates for all connections that are made from now on."""
        for name, pem in _fields(certificates).items():
            setattr(self, name, pem)
        with _file(certificates.cert, certificates.key) as chain:
            for context in self._contexts:
                context.load_cert_chain(chain)
                context.load_verify_locations(cadata=certificates.ca)

    def _get_tls_context(self, tls: Mapping[str, str], purpose: ssl.Purpose) -> ssl.SSLContext:
        """Makes a context without a key touching a disk, as it does in Dask's own way with PEM texts."""
        if not hasattr(os, "memfd_create"):
            return self._remember(super()._get_tls_context(tls, purpose))
        with _file(tls["cert"], tls["key"]) as chain:
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
def _file(*pems: str) -> Generator[Path]:
    """OpenSSL reads certificates from files only: gives it one in memory."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, "\n".join(pems).encode())
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
