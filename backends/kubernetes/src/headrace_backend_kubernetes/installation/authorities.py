"""The chart's own certificate authority, and its successor some time before it expires. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from headrace_chassis.tls.certificates import Authority, Leaf

AUTHORITY_LIFETIME = timedelta(days=3650)
# The successor is trusted long before it signs: until then every process has read the authorities again.
SUCCESSOR_BEFORE = timedelta(days=730)
SIGNS_UNTIL = timedelta(days=450)

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Authorities:
    """Authorities that are trusted, the one that expires first at the front."""

    trusted: tuple[Authority, ...]

    @classmethod
    def load(cls, certificates: bytes, keys: bytes) -> Authorities:
        """Read what `certificates` and `keys` return; raise ValueError if it is damaged."""
        pairs = zip(_blocks(certificates), _blocks(keys), strict=True)
        return cls(tuple(Authority.load(certificate, key) for certificate, key in pairs))

    @property
    def certificates(self) -> bytes:
        return b"".join(each.cert_pem for each in self.trusted)

    @property
    def keys(self) -> bytes:
        return b"".join(each.key_pem for each in self.trusted)

    def renewed(self, common_name: str, now: datetime) -> Authorities:
        """Return them without those that have expired, and with a successor if it is time for one."""
        living = [each for each in self.trusted if each.expire_time > now]
        if not living or living[-1].expire_time < now + SUCCESSOR_BEFORE:
            living.append(Authority.create(common_name, now + AUTHORITY_LIFETIME - datetime.now(UTC)))
        return Authorities(tuple(living))

    def signing(self, now: datetime) -> Authority:
        """Return the authority that issues certificates: the oldest one that lasts long enough."""
        lasting = (each for each in self.trusted if each.expire_time > now + SIGNS_UNTIL)
        return next(lasting, self.trusted[-1])


def is_good(certificate: bytes, names: Sequence[str], authorities: Authorities, until: datetime) -> bool:
    """Whether a certificate is for exactly these names, from one of the authorities, and valid until then."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        own = set(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound):
        return False
    return found.not_valid_after_utc > until and own == _general_names(names) and _is_from(found, authorities)


def issue(authorities: Authorities, common_name: str, names: Sequence[str], days: int) -> Leaf:
    """Issue a certificate for a service or for the public port."""
    authority = authorities.signing(datetime.now(UTC))
    return authority.issue(common_name, timedelta(days=days), dns_names=names)


def _is_from(certificate: x509.Certificate, authorities: Authorities) -> bool:
    return any(_issued(authority, certificate) for authority in authorities.trusted)


def _issued(authority: Authority, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _general_names(names: Sequence[str]) -> set[x509.GeneralName]:
    return {x509.DNSName(name) for name in names}


def _blocks(pem: bytes) -> list[bytes]:
    return [found.group(0) for found in _PEM_BLOCK.finditer(pem)]
