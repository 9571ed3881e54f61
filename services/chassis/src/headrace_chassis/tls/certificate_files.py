"""TLS files of a listener or a channel, read again when they change: certificates are renewed while services run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from headrace_chassis.certificate_validity import of_authorities, of_chain, report
from headrace_chassis.logs import get_logger

log = get_logger()


class BadTlsFile(Exception):
    """One of the TLS files cannot be used."""


@dataclass(frozen=True, slots=True)
class Pems:
    """What the files hold."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes | None


@dataclass
class CertificateFiles:
    """Certificate and key of a service, and the authority of its peers if these need certificates.

    `use` says in the log what uses them.
    """

    certificate: Path
    key: Path
    ca: Path | None
    use: str
    _seen: object = field(init=False, default=None)
    _used: Pems | None = field(init=False, default=None, repr=False)

    def read(self) -> Pems:
        """Return what the files hold; raise `BadTlsFile` if they cannot be used now."""
        self._seen = self._state()
        self._used = self._read()
        return self._used

    def current(self) -> Pems:
        """Return what the next connection uses; raise `BadTlsFile` if that was never read and cannot be read now."""
        if self._used is not None and self._state() == self._seen:
            return self._used
        try:
            return self._read()
        except BadTlsFile:
            if self._used is None:
                raise
            return self._used

    def changed(self) -> Pems | None:
        """Return what the files hold now, or None if nothing changed since the last time or they cannot be used."""
        if (state := self._state()) == self._seen:
            return None
        self._seen = state  # also for files that cannot be used: they are logged once
        try:
            renewed = self._read()
        except BadTlsFile as error:
            log.warning(
                "the changed TLS files cannot be used; the old ones stay in use", use=self.use, error=str(error)
            )
            return None
        self._used = renewed
        log.info("the changed TLS files are in use", use=self.use, certificate=str(self.certificate))
        return renewed

    def credentials(self) -> grpc.ServerCredentials:
        """Return a listener's credentials that follow the files; raise `BadTlsFile` if these cannot be used now."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.read()),
            cast("Any", self._configuration_if_changed),  # the stubs omit None from its type
            require_client_authentication=self.ca is not None,
        )

    def _configuration_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration, or None if nothing changed.

        gRPC calls this before each handshake, in a thread of its own. Open connections keep their certificate.
        """
        return None if (renewed := self.changed()) is None else _configuration(renewed)

    def _state(self) -> object:
        return [stamp(path) for path in (self.certificate, self.key, self.ca) if path]

    def _read(self) -> Pems:
        certificate, key = _read(self.certificate), _read(self.key)
        try:
            own = load_pem_private_key(key, password=None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadTlsFile(f"{self.key} holds no private key in PEM without a password: {error}") from error
        if _certificates(self.certificate, certificate)[0].public_key() != own:
            raise BadTlsFile(f"the key in {self.key} is not that of the certificate in {self.certificate}")
        if self.ca is None:
            return Pems(certificate, key, None)
        ca = _read(self.ca)
        _certificates(self.ca, ca)
        return Pems(certificate, key, ca)


def report_files(files: CertificateFiles) -> None:
    """Show in the metrics the certificate of a service and the authority of its peers."""
    report("service", lambda: of_chain(files.current().certificate))
    if files.ca is not None:
        report("services_authority", lambda: of_authorities(files.current().ca or b""))


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    pair = [(pems.key, pems.certificate)]
    if pems.ca is None:
        return grpc.ssl_server_certificate_configuration(pair)
    return grpc.ssl_server_certificate_configuration(pair, pems.ca)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file has changed; None if it cannot be seen."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadTlsFile(f"{path} cannot be read: {error.strerror}") from error


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise BadTlsFile(f"{path} holds no certificate in PEM: {error}") from error
