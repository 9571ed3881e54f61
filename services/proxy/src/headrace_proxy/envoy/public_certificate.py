"""Certificates of the public port, as secrets that Envoy reads from files, and again when they are replaced."""

from __future__ import annotations

import ssl
from pathlib import Path

from headrace.errors import GatewayServerError
from headrace_proxy.envoy.parts import Config, typed


def secret_path(state_directory: Path, name: str) -> Path:
    return state_directory / f"{name}.json"


def secret(name: str, certificate_file: Path, key_file: Path) -> Config:
    """The secret: names two files, which are read again when a file is moved into their directory."""
    certificate = {
        "certificate_chain": {"filename": str(certificate_file)},
        "private_key": {"filename": str(key_file)},
        "watched_directory": {"path": str(certificate_file.parent)},
    }
    message = "envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [typed(message, {"name": name, "tls_certificate": certificate})]}


def check_certificate(certificate_file: Path, key_file: Path) -> None:
    """Raise `GatewayServerError` unless the files are a certificate with its key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise GatewayServerError(
            f"{certificate_file} and {key_file} are not a certificate chain with its private key in PEM: {error}"
        ) from None
