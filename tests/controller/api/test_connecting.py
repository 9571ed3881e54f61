"""ConnectCluster: addresses and a certificate that TLS takes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.conftest import Eventually
from tests.controller.running import Site
from tests.controller.user import User

from headrace.v1 import cluster_service_pb2 as pb


async def test_a_certificate_before_it_runs_and_an_address_after(site: Site, ann: User, eventually: Eventually) -> None:
    site.agents.automatic = False
    made = await ann.create()
    early = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name))
    assert early.direct_address == ""
    assert early.server_name == f"{made.name.removeprefix('clusters/')}.clusters.headrace.internal"

    scheduler = (made.name.removeprefix("clusters/"), "scheduler")
    await eventually(lambda: scheduler in site.machine.specs)
    site.agents.automatic = True
    site.agents.started(site.machine.specs[scheduler])
    await ann.until(made.name, "RUNNING")
    late = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name))
    assert late.direct_address == "tls://127.0.0.1:40000"
    assert late.ca_pem == early.ca_pem
    assert late.certificate_pem != early.certificate_pem


async def test_scheduler_and_client_trust_each_other_and_nobody_else(site: Site, ann: User, directory: Path) -> None:
    made, other = await ann.create(), await ann.create()
    await ann.until(made.name, "RUNNING")
    await ann.until(other.name, "RUNNING")
    client = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name))
    stranger = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=other.name))
    scheduler = site.agents.enrolled[made.name.removeprefix("clusters/"), "scheduler"]
    assert handshake(directory, scheduler, client, client.server_name)
    assert not handshake(directory, scheduler, stranger, client.server_name)
    subject = x509.load_pem_x509_certificate(client.certificate_pem.encode()).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "ann"


class Pems(Protocol):
    """A certificate with its key, and whom it trusts."""

    ca_pem: str
    certificate_pem: str
    private_key_pem: str


def handshake(directory: Path, server: Pems, client: Pems, name: str) -> bool:
    """Whether the two finish a handshake of mutual TLS, in memory."""
    contexts = [
        context(directory, server, ssl.PROTOCOL_TLS_SERVER),
        context(directory, client, ssl.PROTOCOL_TLS_CLIENT),
    ]
    one, two = (ssl.MemoryBIO(), ssl.MemoryBIO())
    sides = [contexts[0].wrap_bio(one, two, server_side=True), contexts[1].wrap_bio(two, one, server_hostname=name)]
    done = [False, False]
    for _ in range(10):
        for n in (1, 0):
            try:
                sides[n].do_handshake()
                done[n] = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return all(done)


def context(directory: Path, pems: Pems, protocol: ssl._SSLMethod) -> ssl.SSLContext:  # pyright: ignore[reportPrivateUsage]
    made = ssl.SSLContext(protocol)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=pems.ca_pem)
    certificate = directory / "pair.pem"
    certificate.write_text(pems.certificate_pem + pems.private_key_pem)
    made.load_cert_chain(certificate)
    return made
