"""Certificate authorities and what they issue, checked by OpenSSL."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace_chassis.tls.certificates import Authority, Leaf

HOUR = timedelta(hours=1)


def context(kind: int, authority: Authority, leaf: Leaf, directory: Path) -> ssl.SSLContext:
    result = ssl.SSLContext(kind)
    result.verify_mode = ssl.CERT_REQUIRED
    result.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    result.load_verify_locations(cadata=authority.cert_pem.decode())
    (directory / "cert").write_bytes(leaf.cert_pem)
    (directory / "key").write_bytes(leaf.key_pem)
    result.load_cert_chain(directory / "cert", directory / "key")
    return result


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done: set[int] = set()
    while len(done) < 2:
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize("name", ["c1.clusters.internal", "127.0.0.1"])
def test_issued_certificates_pass_openssls_strict_checks_both_ways(tmp_path: Path, name: str) -> None:
    authority = Authority.create("cluster c1", HOUR)
    again = Authority.load(authority.cert_pem, authority.key_pem)
    scheduler = again.issue("scheduler", HOUR, dns_names=["c1.clusters.internal"], ip_addresses=["127.0.0.1"])
    worker = authority.issue("worker", HOUR, server=False)
    server = context(ssl.PROTOCOL_TLS_SERVER, authority, scheduler, tmp_path)
    handshake(context(ssl.PROTOCOL_TLS_CLIENT, authority, worker, tmp_path), server, name)


def test_another_authoritys_certificate_and_a_client_as_server_are_refused(tmp_path: Path) -> None:
    ours, theirs = Authority.create("same name", HOUR), Authority.create("same name", HOUR)
    server = context(ssl.PROTOCOL_TLS_SERVER, ours, ours.issue("s", HOUR, dns_names=["s"]), tmp_path)
    for bad in (theirs.issue("w", HOUR), ours.issue("w", HOUR, client=False)):
        with pytest.raises(ssl.SSLError):
            handshake(context(ssl.PROTOCOL_TLS_CLIENT, ours, bad, tmp_path), server, "s")


def test_a_certificate_never_outlives_its_authority() -> None:
    authority = Authority.create("short", HOUR)
    leaf = authority.issue("long", timedelta(days=365))
    assert leaf.expire_time == authority.expire_time
    assert leaf.expire_time - datetime.now(UTC) < HOUR + timedelta(seconds=5)


def test_the_key_of_an_authority_must_be_ecdsa() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TypeError, match="ECDSA"):
        Authority.load(Authority.create("x", HOUR).cert_pem, key)
