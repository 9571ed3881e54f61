"""When the certificates that a service uses begin and end, for the metrics. They are looked at when these are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509

from headrace_chassis import metrics


class Validity(NamedTuple):
    """Times in seconds since the epoch."""

    begin: float
    end: float


UNREADABLE = Validity(0.0, 0.0)


@lru_cache(16)
def of_chain(pem: bytes) -> Validity:
    """Return when a certificate is valid together with its intermediates; raise ValueError if there is none."""
    found = _validities(pem)
    return Validity(max(one.begin for one in found), min(one.end for one in found))


@lru_cache(16)
def of_authorities(pem: bytes) -> Validity:
    """Return the validity of the authority that ends last: beside a new one, an old one may stay until its end."""
    return max(_validities(pem), key=lambda one: one.end)


def report(certificate: str, validity: Callable[[], Validity]) -> None:
    """Show a certificate in the metrics. `validity` raises OSError or ValueError if it cannot be read now."""

    def now() -> Validity:
        try:
            return validity()
        except (OSError, ValueError):
            return UNREADABLE

    metrics.CERTIFICATE_BEGIN.labels(certificate).set_function(lambda: now().begin)
    metrics.CERTIFICATE_END.labels(certificate).set_function(lambda: now().end)


def _validities(pem: bytes) -> list[Validity]:
    return [
        Validity(one.not_valid_before_utc.timestamp(), one.not_valid_after_utc.timestamp())
        for one in x509.load_pem_x509_certificates(pem)
    ]
