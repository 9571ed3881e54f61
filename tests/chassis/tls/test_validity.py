"""The metrics say when the certificates end that the next connection uses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from tests.chassis.running import running_service
from tests.chassis.tls.files import DAY, issue, reading, write

from headrace_chassis.certificate_validity import UNREADABLE, of_authorities, of_chain, report
from headrace_chassis.redis.connection import connect
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificates import Authority, Leaf
from headrace_chassis.tls.channels import open_channel


def shown(what: str, certificate: str) -> float | None:
    """Return what the metrics say of a certificate."""
    return REGISTRY.get_sample_value(f"headrace_certificate_{what}_timestamp_seconds", {"certificate": certificate})


def ending(authority: Authority, days: int) -> Leaf:
    return authority.issue("service", timedelta(days=days), ip_addresses=["127.0.0.1"])


def test_a_chain_is_valid_while_all_of_it_is_and_authorities_while_one_is(authority: Authority) -> None:
    short, long = ending(authority, 2), ending(authority, 9)
    both = short.cert_pem + long.cert_pem
    assert of_chain(both).end == of_chain(short.cert_pem).end == pytest.approx(short.expire_time.timestamp(), abs=1)
    assert of_authorities(both) == of_chain(long.cert_pem)
    assert of_chain(both).begin < of_chain(both).end
    with pytest.raises(ValueError, match="PEM"):
        of_chain(b"no certificate")


async def test_a_renewed_certificate_counts_before_anybody_connects(
    settings: ServiceSettings, directory: Path, authority: Authority, addresses: list[str]
) -> None:
    files = directory / "tls"
    write(files, ending(authority, 2), authority)
    tcp = settings.model_copy(update={"listen": addresses[0], "internal_listen": addresses[1]})
    async with running_service(reading(tcp, files)):
        assert shown("end", "service") == of_chain((files / "tls.crt").read_bytes()).end
        assert shown("begin", "service") == of_chain((files / "tls.crt").read_bytes()).begin
        assert shown("end", "services_authority") == of_authorities(authority.cert_pem).end
        renewed = ending(authority, 9)
        write(files, renewed, authority)
        assert shown("end", "service") == of_chain(renewed.cert_pem).end


async def test_of_files_that_cannot_be_used_those_before_count(
    settings: ServiceSettings, directory: Path, authority: Authority, addresses: list[str]
) -> None:
    files = directory / "tls"
    first, second = ending(authority, 2), ending(authority, 9)
    write(files, first, authority)
    async with open_channel(addresses[0], reading(settings, files)):
        (files / "tls.crt").write_bytes(second.cert_pem)  # its key comes later
        assert shown("end", "service") == of_chain(first.cert_pem).end
        (files / "tls.key").write_bytes(second.key_pem)
        assert shown("end", "service") == of_chain(second.cert_pem).end


async def test_the_files_in_the_address_of_redis_count(directory: Path, authority: Authority) -> None:
    files = directory / "redis"
    write(files, issue(authority), authority)
    url = f"rediss://127.0.0.1:1/0?ssl_ca_certs={files}/ca.crt&ssl_certfile={files}/tls.crt&ssl_keyfile={files}/tls.key"
    await connect(url).aclose()
    assert shown("end", "redis_authority") == of_authorities(authority.cert_pem).end
    assert shown("end", "redis") == of_chain((files / "tls.crt").read_bytes()).end
    later = Authority.create("later", 5 * DAY)
    (files / "ca.crt").write_bytes(authority.cert_pem + later.cert_pem)
    assert shown("end", "redis_authority") == of_authorities(later.cert_pem).end


def test_one_that_cannot_be_read_does_not_end_the_page(directory: Path) -> None:
    report("lost", lambda: of_chain((directory / "none").read_bytes()))
    report("bad", lambda: of_chain(b"no certificate"))
    assert [shown("end", "lost"), shown("end", "bad")] == [UNREADABLE.end] * 2 == [0, 0]
