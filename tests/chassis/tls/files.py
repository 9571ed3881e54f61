"""TLS files of services whose certificates are renewed, and a call with them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificates import Authority, Leaf

DAY = timedelta(days=1)
FAILED = "the changed TLS files cannot be used; the old ones stay in use"


def issue(authority: Authority) -> Leaf:
    return authority.issue("service", DAY, ip_addresses=["127.0.0.1"])


def write(directory: Path, leaf: Leaf, authority: Authority) -> None:
    """Writes into the very files, as the least careful of all tools does."""
    directory.mkdir(exist_ok=True)
    for name, content in {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem, "ca.crt": authority.cert_pem}.items():
        (directory / name).write_bytes(content)


def reading(settings: ServiceSettings, directory: Path) -> ServiceSettings:
    """Settings with the TLS files of a directory."""
    files = {"certificate": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
    return settings.model_copy(update={f"tls_{kind}_file": directory / name for kind, name in files.items()})


def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)
