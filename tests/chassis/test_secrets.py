"""Seals, agents' tokens, certificates."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import DeploymentKeyError, Seal, new_deployment_key, read_deployment_keys
from headrace_chassis.secret import Secret
from headrace_chassis.tls.certificates import Authority, Leaf

OLD, NEW = b"o" * 32, b"n" * 32
HOUR = timedelta(hours=1)


@given(st.binary())
def test_what_is_sealed_opens_again(content: bytes) -> None:
    assert Seal([NEW]).open(Seal([NEW]).seal(content)) == content


def test_after_rotation_old_seals_open_and_new_ones_use_the_new_key() -> None:
    sealed = Seal([OLD]).seal(b"x")
    rotated = Seal([NEW, OLD])
    assert rotated.open(sealed) == b"x"
    assert Seal([NEW]).open(rotated.seal(b"y")) == b"y"
    with pytest.raises(DeploymentKeyError, match="put the key it was sealed with back"):
        Seal([NEW]).open(sealed)


@given(st.integers(min_value=0, max_value=40), st.integers(min_value=1, max_value=255))
def test_an_altered_or_cut_seal_does_not_open(position: int, flip: int) -> None:
    sealed = bytearray(Seal([NEW]).seal(b"content"))
    if position < len(sealed):
        sealed[position] ^= flip
    else:
        sealed = sealed[:10]
    with pytest.raises(DeploymentKeyError):
        Seal([NEW]).open(bytes(sealed))


def test_keys_are_read_from_a_file_the_sealing_one_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    lines = [new_deployment_key(), new_deployment_key()]
    file.write_text("\n".join(lines) + "\n")
    keys = read_deployment_keys(file)
    assert [len(key) for key in keys] == [32, 32]


@pytest.mark.parametrize("content", ["", "c2hvcnQ=", "not base64!", "é"])
def test_a_bad_key_file_is_explained(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(DeploymentKeyError, match=str(file)):
        read_deployment_keys(file)


def test_an_agents_token_is_good_for_its_cluster_in_its_deployment() -> None:
    token = AgentTokens([OLD], "prod").issue("c17")
    assert AgentTokens([OLD], "prod").verify(token) == "c17"
    assert AgentTokens([NEW, OLD], "prod").verify(token) == "c17"
    for other in (AgentTokens([NEW], "prod"), AgentTokens([OLD], "test")):
        with pytest.raises(TokenInvalid):
            other.verify(token)


@given(st.text())
def test_no_text_is_taken_for_an_agents_token(text: str) -> None:
    with pytest.raises(TokenInvalid):
        AgentTokens([OLD], "prod").verify(text)


def test_a_secret_shows_itself_on_request_only() -> None:
    secret = Secret("hunter2")
    assert f"{secret} {secret!r}" == "*** ***"
    assert secret.reveal() == "hunter2"


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
