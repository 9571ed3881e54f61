"""HTTP services that are settings of the proxy, through a real Envoy."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.browser import Browser, asked
from tests.proxy.fake_dashboard import FakeDashboard
from tests.proxy.running_proxy import RunningProxy

from headrace_chassis.tls.certificates import Authority

CREDENTIALS = {"authorization": "Basic eA=="}


@pytest.fixture
async def services() -> AsyncIterator[list[FakeDashboard]]:
    """Two HTTP servers that answer with what they were asked."""
    services = [FakeDashboard(), FakeDashboard()]
    for service in services:
        service.start()
    yield services
    for service in services:
        await service.stop()


@pytest.fixture
async def gateway(
    idle_proxy: RunningProxy, controller: FakeRoutes, services: list[FakeDashboard], authority: Authority
) -> Browser:
    prefixes = {"rest": "/api/", "rest-next": "/api/v2/", "away": "/away/"}
    targets = [*(service.address for service in services), "127.0.0.1:9"]
    configured = [
        {"name": name, "prefix": prefix, "target": target}
        for (name, prefix), target in zip(prefixes.items(), targets, strict=True)
    ]
    await idle_proxy.start(http_services=json.dumps(configured))
    return Browser(idle_proxy.public, ssl.create_default_context(cadata=authority.cert_pem.decode()))


async def test_paths_reach_the_service_of_their_longest_prefix_unchanged(
    gateway: Browser, services: list[FakeDashboard]
) -> None:
    for path, service in (("/api/v1/clusters?x=1", services[0]), ("/api/v2/clusters", services[1])):
        found = asked(await gateway.get(path, CREDENTIALS))
        assert (found.uri, found.server) == (path, service.address)


async def test_callers_are_authenticated_by_the_service_itself(gateway: Browser) -> None:
    headers = asked(await gateway.get("/api/v1/", CREDENTIALS | {"x-headrace-user": "admin"})).headers
    assert headers["authorization"] == CREDENTIALS["authorization"]
    assert "x-headrace-user" not in headers


async def test_other_paths_stay_what_they_are(gateway: Browser) -> None:
    assert (await gateway.get("/ap")).code == 404
    assert (await gateway.get("/clusters/ca1/api/")).code == 503, "a dashboard, and auth is away"


async def test_a_service_that_is_away_is_named(gateway: Browser) -> None:
    response = await gateway.get("/away/x")
    assert response.code == 503
    assert response.body.startswith(b"headrace's away service does not answer")
