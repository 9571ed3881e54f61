"""Which certificate the public port shows to whom."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import replace
from tests.proxy.running_proxy import RunningProxy, write_settings
from tornado.httpclient import AsyncHTTPClient

from headrace_chassis.tls.certificates import Authority

END = "headrace_certificate_end_timestamp_seconds"
INSIDE = ("headrace", "headrace.dask.svc")


@pytest.fixture(scope="module")
def inside_authority() -> Authority:
    """Another authority than that of the public certificate."""
    return Authority.create("inside", timedelta(hours=1))


@pytest.fixture
def settings(directory: Path, authority: Authority, inside_authority: Authority, public_port: int) -> dict[str, str]:
    """Settings of a proxy that has a certificate for the names by which it is known inside of a cluster."""
    leaf = inside_authority.issue("headrace", timedelta(hours=1), dns_names=INSIDE)
    files = directory / "inside" / "tls.crt", directory / "inside" / "tls.key"
    files[0].parent.mkdir()
    files[0].write_bytes(leaf.cert_pem)
    files[1].write_bytes(leaf.key_pem)
    names = ("inside_certificate_file", "inside_key_file")
    return write_settings(directory, authority, public_port) | dict(zip(names, map(str, files), strict=True))


@pytest.mark.parametrize(
    ("name", "issuer"),
    [
        ("headrace.dask.svc", "inside"),
        ("headrace", "inside"),
        ("headrace.test", "test gateway"),
        ("localhost", "test gateway"),
        ("unknown.example", "test gateway"),
        (None, "test gateway"),
    ],
)
async def test_it_is_the_one_for_the_name_that_the_caller_asks_for(
    proxy: RunningProxy, name: str | None, issuer: str
) -> None:
    assert _common_name(await _served(proxy, name)) == issuer


async def test_a_renewed_one_is_used_without_a_restart(
    proxy: RunningProxy,
    settings: dict[str, str],
    inside_authority: Authority,
    eventually: Callable[..., Awaitable[None]],
) -> None:
    before = await _served(proxy, INSIDE[0])
    leaf = inside_authority.issue("renewed", timedelta(hours=1), dns_names=INSIDE)
    replace(Path(settings["inside_certificate_file"]), leaf.cert_pem)
    replace(Path(settings["inside_key_file"]), leaf.key_pem)

    async def renewed() -> bool:
        return await _served(proxy, INSIDE[0]) != before

    await eventually(renewed)
    assert _common_name(await _served(proxy, "localhost")) == "test gateway"


async def test_the_metrics_say_when_each_ends(
    idle_proxy: RunningProxy,
    controller: FakeRoutes,
    settings: dict[str, str],
    inside_authority: Authority,
    held_address: Callable[[], str],
) -> None:
    address = held_address()
    await idle_proxy.start(metrics_listen=address)

    async def ends() -> dict[str, float]:
        page = await AsyncHTTPClient().fetch(f"http://{address}/metrics")
        families = text_string_to_metric_families(page.body.decode())
        found = [sample for family in families for sample in family.samples]
        return {one.labels["certificate"]: one.value for one in found if one.name == END}

    def end(name: str) -> float:
        content = Path(settings[f"{name}_certificate_file"]).read_bytes()
        return x509.load_pem_x509_certificate(content).not_valid_after_utc.timestamp()

    assert await ends() == {"public": end("public"), "inside": end("inside")}
    renewed = inside_authority.issue("renewed", timedelta(minutes=5), dns_names=INSIDE)
    replace(Path(settings["inside_certificate_file"]), renewed.cert_pem)
    assert (await ends())["inside"] == end("inside") == pytest.approx(renewed.expire_time.timestamp(), abs=1)


async def _served(proxy: RunningProxy, name: str | None) -> bytes:
    """The certificate, in DER, that a caller gets who asks for a server."""
    host, _, port = proxy.public.rpartition(":")

    def get() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname=name) as opened,
        ):
            return opened.getpeercert(binary_form=True) or b""

    return await asyncio.to_thread(get)


def _common_name(certificate: bytes) -> str:
    issuer = x509.load_der_x509_certificate(certificate).issuer
    return str(issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
