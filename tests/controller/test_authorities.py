"""The certificate authorities of a cluster: created once, kept sealed, opened when they are needed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.errors import ClusterNotFound
from headrace_chassis.identity.seal import Seal
from headrace_chassis.tls.certificates import Authority, Leaf
from headrace_controller.authorities import Authorities
from headrace_controller.model import ClusterId

C1 = ClusterId("c1")


class Secrets:
    """The store's side: sealed authorities by cluster, and how often they were read."""

    def __init__(self) -> None:
        self.sealed: dict[ClusterId, bytes] = {}
        self.reads = 0

    async def read(self, cluster: ClusterId) -> bytes:
        self.reads += 1
        if cluster not in self.sealed:
            raise ClusterNotFound(f"there is no cluster {cluster}")
        return self.sealed[cluster]


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def authorities(secrets: Secrets) -> Authorities:
    return replica(secrets, Fernet.generate_key())


def replica(secrets: Secrets, key: bytes) -> Authorities:
    hour, day = timedelta(hours=1), timedelta(days=1)
    return Authorities(secrets.read, Seal([key]), lifetime=day, certificate_lifetime=hour)


def certificate(leaf: Leaf) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.cert_pem)


async def test_an_authority_is_the_same_for_every_replica(secrets: Secrets) -> None:
    key = Fernet.generate_key()
    first, second = replica(secrets, key), replica(secrets, key)
    secrets.sealed[C1] = await first.create(C1)
    one, _ = await first.issue_client(C1, "ann")
    two, _ = await second.issue_client(C1, "ann")
    assert one == two
    assert (await first.issue_client(C1, "ann"))[1].cert_pem != (await first.issue_client(C1, "ann"))[1].cert_pem
    assert secrets.reads == 1  # only by the one that had not created it, and once


async def test_its_key_is_not_stored_in_the_clear(authorities: Authorities) -> None:
    assert b"PRIVATE KEY" not in await authorities.create(C1)


async def test_a_discarded_one_is_read_again(secrets: Secrets, authorities: Authorities) -> None:
    secrets.sealed[C1] = await authorities.create(C1)
    authorities.discard(C1)
    authorities.discard(C1)
    await authorities.issue_client(C1, "ann")
    assert secrets.reads == 1


async def test_of_a_cluster_that_is_not_there_nothing_is_issued(authorities: Authorities) -> None:
    with pytest.raises(ClusterNotFound):
        await authorities.issue_client(C1, "ann")


@pytest.mark.parametrize(("user", "name"), [("ann", "ann"), ("x" * 200, "x" * 47 + "-aa20c23e32018340"), ("", "-")])
async def test_a_client_gets_a_certificate_for_clients_only(authorities: Authorities, user: str, name: str) -> None:
    await authorities.create(C1)
    _, leaf = await authorities.issue_client(C1, user)
    made = certificate(leaf)
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


async def test_certificates_of_long_names_differ(authorities: Authorities) -> None:
    await authorities.create(C1)
    leaves = [(await authorities.issue_client(C1, "x" * 100 + last))[1] for last in "ab"]
    assert len({certificate(leaf).subject for leaf in leaves}) == 2


async def test_a_process_gets_one_for_both_sides_with_its_names(authorities: Authorities) -> None:
    await authorities.create(C1)
    _, leaf = await authorities.issue_process(
        C1, "scheduler", dns_names=["c1.x"], ip_addresses=["127.0.0.1"], takes_guests=True
    )
    extensions = certificate(leaf).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["c1.x"]
    assert len(list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)) == 2


async def trusted(authorities: Authorities, process: str) -> list[x509.Certificate]:
    pem, _ = await authorities.issue_process(
        C1, process, dns_names=[], ip_addresses=[], takes_guests=process == "scheduler"
    )
    return x509.load_pem_x509_certificates(pem.encode())


def is_issued_by(leaf: Leaf, authorities: list[x509.Certificate]) -> bool:
    for authority in authorities:
        with suppress(ValueError, InvalidSignature):
            certificate(leaf).verify_directly_issued_by(authority)
            return True
    return False


@pytest.mark.parametrize("reopened", [False, True])
async def test_schedulers_take_guests_and_workers_do_not(
    secrets: Secrets, authorities: Authorities, reopened: bool
) -> None:
    secrets.sealed[C1] = await authorities.create(C1)
    if reopened:
        authorities.discard(C1)
    scheduler, worker = await trusted(authorities, "scheduler"), await trusted(authorities, "default-0-abcdef")
    ca_pem, guest = await authorities.issue_client(C1, "bob", ["users/bob"], guest_seconds=60)
    _, owner = await authorities.issue_client(C1, "ann", ["users/ann"])
    assert [x509.load_pem_x509_certificate(ca_pem.encode())] == worker  # guests trust no guests
    assert is_issued_by(guest, scheduler)
    assert not is_issued_by(guest, worker)
    assert is_issued_by(owner, scheduler)
    assert is_issued_by(owner, worker)


async def test_a_cluster_of_an_earlier_release_has_one_authority_for_all(secrets: Secrets) -> None:
    seal, only = Seal([Fernet.generate_key()]), Authority.create("headrace c1", timedelta(days=1))
    secrets.sealed[C1] = seal.seal(msgspec.msgpack.encode((only.cert_pem, only.key_pem)))
    authorities = Authorities(secrets.read, seal, lifetime=timedelta(days=1), certificate_lifetime=timedelta(hours=1))
    for process in ("scheduler", "default-0-abcdef"):
        assert await trusted(authorities, process) == [only.certificate]
    _, guest = await authorities.issue_client(C1, "bob", ["users/bob"], guest_seconds=60)
    assert is_issued_by(guest, [only.certificate])
