"""Mutual TLS from Envoy to headrace's services, with the certificates that these use among themselves."""

from __future__ import annotations

import ipaddress

from headrace_proxy.config import Settings
from headrace_proxy.envoy.envoy_config import Config, extension


def mutual_tls(settings: Settings, host: str) -> Config:
    """Towards a service at `host`, which must prove to be just that."""
    certificate = {
        "certificate_chain": {"filename": str(settings.tls_certificate_file)},
        "private_key": {"filename": str(settings.tls_key_file)},
    }
    trusted = {
        "trusted_ca": {"filename": str(settings.tls_ca_file)},
        "match_typed_subject_alt_names": [
            {"san_type": "IP_ADDRESS" if _is_ip(host) else "DNS", "matcher": {"exact": host}}
        ],
    }
    common = {"alpn_protocols": ["h2"], "tls_certificates": [certificate], "validation_context": trusted}
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        {"sni": "" if _is_ip(host) else host, "common_tls_context": common},
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
