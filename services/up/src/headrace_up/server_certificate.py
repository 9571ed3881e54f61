"""The certificate of the public port, from a certificate authority of this data directory alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from headrace.private_files import write_private
from headrace_chassis.tls.certificates import Authority

# Renewed at start, long before the end: a headrace that runs for a year without a restart still has a good one.
AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=800)
LEAST_LEFT = timedelta(days=400)


@dataclass(frozen=True)
class ServerCertificate:
    """Files of the public port's TLS."""

    ca: Path
    certificate: Path
    key: Path


def ensure_server_certificate(directory: Path, now: datetime | None = None) -> ServerCertificate:
    """Returns the files; makes or renews what is missing, damaged or near its end."""
    now = now or datetime.now(UTC)
    files = ServerCertificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key = directory / "ca.key"
    authority_is_good = ca_key.exists() and _lasts(files.ca, now + LEAST_LEFT)
    if authority_is_good and files.key.exists() and _lasts(files.certificate, now + LEAST_LEFT):
        return files
    if authority_is_good:
        authority = Authority.load(files.ca.read_bytes(), ca_key.read_bytes())
    else:
        authority = Authority.create("headrace on this machine", AUTHORITY_LIFETIME)
        write_private(ca_key, authority.key_pem)
        write_private(files.ca, authority.cert_pem)
    leaf = authority.issue(
        "localhost",
        SERVER_LIFETIME,
        dns_names=("localhost",),
        ip_addresses=("127.0.0.1", "::1"),
        client=False,
    )
    write_private(files.key, leaf.key_pem)
    write_private(files.certificate, leaf.cert_pem)
    return files


def _lasts(certificate: Path, until: datetime) -> bool:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc > until
    except (OSError, ValueError):
        return False
