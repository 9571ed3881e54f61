"""Envoy's own metrics, on a listener of their own: one page, for who has the token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes
from tests.proxy.browser import Browser
from tests.proxy.conftest import replace
from tests.proxy.running_proxy import RunningProxy
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from headrace_chassis import procfs
from headrace_chassis.tls.certificates import Authority

PAGE = "/stats/prometheus"
MOST = 100
TOKEN = {"authorization": "Bearer the-token"}


class Metrics:
    """Asks the listener."""

    def __init__(self, address: str, token_file: Path) -> None:
        self.address = address
        self.token_file = token_file

    async def get(self, path: str, headers: Mapping[str, str] = TOKEN, method: str = "GET") -> HTTPResponse:
        return await AsyncHTTPClient().fetch(
            f"http://{self.address}{path}",
            method=method,
            headers=dict(headers),
            raise_error=False,
            allow_nonstandard_methods=True,
            request_timeout=60,
        )


@pytest.fixture
async def metrics(
    idle_proxy: RunningProxy, controller: FakeRoutes, directory: Path, held_address: Callable[[], str]
) -> Metrics:
    address = held_address()
    made = Metrics(address, directory / 'a "token" \\ü')
    made.token_file.write_text("the-token\n")
    await idle_proxy.start(
        envoy_metrics_listen=address, metrics_token_file=str(made.token_file), max_connections=str(MOST // 2)
    )
    return made


async def test_it_shows_envoys_metrics_to_who_has_the_token(metrics: Metrics) -> None:
    answer = await metrics.get(PAGE)
    assert answer.code == 200
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"envoy_server_live", "envoy_http_downstream_cx_active", "envoy_cluster_upstream_cx_active"} <= names
    for headers in (
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer the-toke"},
        {"authorization": "Bearer the-tokem"},
        {"authorization": "Bearer the-token2"},
        {"authorization": "Basic the-token"},
        {"authorization": "the-token"},
    ):
        answer = await metrics.get(PAGE, headers)
        assert (answer.code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert b"envoy_" not in answer.body


async def test_it_shows_when_the_first_certificate_that_envoy_uses_ends(
    metrics: Metrics, idle_proxy: RunningProxy, eventually: Eventually
) -> None:
    async def days() -> float:
        families = text_string_to_metric_families((await metrics.get(PAGE)).body.decode())
        values = {sample.name: sample.value for family in families for sample in family.samples}
        return values["envoy_server_days_until_first_cert_expiring"]

    assert await days() == 0
    authority = Authority.create("renewed", timedelta(days=60))
    leaf = authority.issue("renewed", timedelta(days=30, hours=1), dns_names=["localhost"])
    replace(Path(idle_proxy.settings["public_certificate_file"]), leaf.cert_pem)
    replace(Path(idle_proxy.settings["public_key_file"]), leaf.key_pem)

    async def renewed() -> bool:
        return await days() == 30

    await eventually(renewed)


async def test_the_token_may_be_replaced_and_without_one_nobody_reads(metrics: Metrics) -> None:
    metrics.token_file.write_text("another")
    assert (await metrics.get(PAGE)).code == 401
    assert (await metrics.get(PAGE, {"authorization": "bearer  another"})).code == 200
    metrics.token_file.write_text(" \n")
    assert (await metrics.get(PAGE, {"authorization": "Bearer "})).code == 401
    metrics.token_file.unlink()
    assert (await metrics.get(PAGE, {"authorization": "Bearer another"})).code == 401


async def test_no_header_keeps_envoy_busy(metrics: Metrics, idle_proxy: RunningProxy) -> None:
    before = procfs.cpu_seconds(idle_proxy.envoy.process.pid)
    answer = await metrics.get(PAGE, {"authorization": f"Bearer the{' ' * 30_000}token"})
    assert answer.code == 401
    # Three times as much where each space is tried as the beginning of the end.
    assert procfs.cpu_seconds(idle_proxy.envoy.process.pid) - before < 5


async def test_nothing_else_of_the_admin_interface_can_be_reached(metrics: Metrics) -> None:
    assert (await metrics.get("/quitquitquit", {}, "POST")).code == 401
    for path in (
        "/",
        "/stats",
        "/config_dump",
        "/clusters",
        "/server_info",
        f"{PAGE}/../../config_dump",
        f"/x/..{PAGE}",
    ):
        assert (await metrics.get(path)).code == 404
    for path in (PAGE, "/quitquitquit", "/drain_listeners", "/logging?level=trace"):
        assert (await metrics.get(path, method="POST")).code == 404
    assert (await metrics.get(PAGE)).code == 200


async def test_who_opens_connections_to_it_takes_none_of_the_public_port(
    metrics: Metrics, browser_of: Browser, eventually: Eventually
) -> None:
    host, _, port = metrics.address.rpartition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(MOST + 20)]
    await eventually(lambda: sum(reader.at_eof() for reader, _ in opened) >= 20)
    assert (await browser_of.get("/nothing")).code == 404
    for _, writer in opened:
        writer.close()
