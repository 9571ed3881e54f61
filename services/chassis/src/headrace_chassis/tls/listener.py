"""A gRPC server on one address."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc

from headrace_chassis.addresses import is_loopback, unix_path
from headrace_chassis.logs import get_logger
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificate_files import CertificateFiles, report_files

RECEIVE_BYTES = 4 << 20
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second process on the same port must fail
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 32 << 10),  # an access token names all groups of its user
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_HEALTH_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1 << 10),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.max_concurrent_streams", 10),
    ("grpc.max_connection_idle_ms", 60_000),
)

log = get_logger()


class AddressInUse(Exception):
    """Another process listens on the address."""


def new_server(interceptor: grpc.aio.ServerInterceptor) -> grpc.aio.Server:
    """Return a server without an address."""
    return grpc.aio.server(interceptors=[interceptor], options=OPTIONS)


def new_health_server() -> grpc.aio.Server:
    """Return a server for health checks: strangers may reach it, so it accepts small messages only."""
    return grpc.aio.server(options=_HEALTH_OPTIONS)


def bind(server: grpc.aio.Server, address: str, settings: ServiceSettings, *, internal: bool) -> str:
    """Bind the server: plain on a unix socket, TLS on TCP if the service has a certificate.

    Return the address, with the chosen port if the port was 0.
    """
    if (path := unix_path(address)) is not None:
        _clear(path)
        _add(server, address, None)
        path.chmod(0o666 if settings.listen_to_all_accounts and not internal else 0o600)
        return address
    credentials = _credentials(settings, address, internal=internal) if settings.has_tls else None
    if credentials is None and not is_loopback(address) and not settings.trust_network:
        log.warning("listening without TLS on the network: only a service mesh makes that safe", address=address)
    port = _add(server, address, credentials)
    return f"{address.rpartition(':')[0]}:{port}"


def bind_plain(server: grpc.aio.Server, address: str) -> str:
    """Bind the server to ``host:port`` without TLS, for what everybody may know; return the address as `bind` does."""
    return f"{address.rpartition(':')[0]}:{_add(server, address, None)}"


def _add(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise AddressInUse(
            f"cannot listen on {address}: another process listens there, or the address is not this machine's; "
            "stop that process, or choose another address"
        ) from error


def _credentials(settings: ServiceSettings, address: str, *, internal: bool) -> grpc.ServerCredentials:
    assert settings.tls_key_file is not None
    assert settings.tls_certificate_file is not None
    ca = settings.tls_ca_file if internal else None
    use = f"connections to {address}"
    files = CertificateFiles(settings.tls_certificate_file, settings.tls_key_file, ca, use)
    credentials = files.credentials()
    report_files(files)
    return credentials


def _clear(path: Path) -> None:
    """Remove the socket of a killed process, and only that: gRPC itself would also remove one that is in use."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise AddressInUse(f"cannot listen on unix:{path}: {error}") from error
    raise AddressInUse(f"cannot listen on unix:{path}: another process listens there; stop it, or choose another path")
