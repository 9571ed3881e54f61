"""Certificates as secrets that Envoy reads from files, and again when a file is moved into their directory."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

from headrace.errors import GatewayServerError
from headrace.private_files import write_private
from headrace_proxy.config import Settings
from headrace_proxy.envoy.parts import Config, typed

SERVICES, SERVICES_AUTHORITY = "services_certificate", "services_authority"


def reference(settings: Settings, name: str) -> Config:
    """What names a secret in Envoy's configuration."""
    path = str(_path(settings, name))
    return {"name": name, "sds_config": {"path_config_source": {"path": path}}}


def write_secrets(settings: Settings) -> None:
    """Write the secrets that Envoy reads; raise `GatewayServerError` if a file of theirs cannot be used."""
    for name, files in settings.certificates.items():
        _write(settings, name, _certificate(*files))
    if settings.tls_certificate_file and settings.tls_key_file and settings.tls_ca_file:
        _write(settings, SERVICES, _certificate(settings.tls_certificate_file, settings.tls_key_file))
        _write(settings, SERVICES_AUTHORITY, _authority(settings.tls_ca_file))


def _path(settings: Settings, name: str) -> Path:
    return settings.state_directory / f"{name}.json"


def _write(settings: Settings, name: str, content: Config) -> None:
    secret = typed("envoy.extensions.transport_sockets.tls.v3.Secret", {"name": name, **content})
    write_private(_path(settings, name), json.dumps({"resources": [secret]}, indent=1))


def _certificate(certificate_file: Path, key_file: Path) -> Config:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise GatewayServerError(
            f"{certificate_file} and {key_file} are not a certificate chain with its private key in PEM: {error}"
        ) from None
    certificate = {
        "certificate_chain": {"filename": str(certificate_file)},
        "private_key": {"filename": str(key_file)},
        "watched_directory": {"path": str(certificate_file.parent)},
    }
    return {"tls_certificate": certificate}


def _authority(ca_file: Path) -> Config:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise GatewayServerError(f"{ca_file} is not a certificate authority in PEM: {error}") from None
    authority = {"trusted_ca": {"filename": str(ca_file)}, "watched_directory": {"path": str(ca_file.parent)}}
    return {"validation_context": authority}
