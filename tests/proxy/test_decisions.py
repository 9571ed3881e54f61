"""What Envoy remembers of auth's decisions: enough for the files of a page, and no more."""

from __future__ import annotations

import pytest
from tests.conftest import Eventually
from tests.proxy.browser import TOKEN, UPGRADE, Browser, asked
from tests.proxy.fake_authz import FakeAuthz
from tests.proxy.fake_dashboard import FakeDashboard

PAGE = "/clusters/ca1/~good/"


async def _known(browser: Browser, authz: FakeAuthz) -> int:
    """Opens a page; returns how often auth was asked, once Envoy asks no more."""
    assert (await browser.get(PAGE + "status", {})).code == 200
    return len(authz.seen)


async def test_files_of_a_page_go_to_its_dashboard_without_asking(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz
) -> None:
    seen = await _known(browser, authz)
    for path in ("static/js/bokeh.min.js", "status", "info/main/workers.html", "x.js?v=1&w=2", ""):
        found = asked(await browser.get(PAGE + path, {"x-headrace-dashboard-key": "mine", "cookie": "a=b"}))
        assert (found.uri, found.server) == (f"/{path}", dashboard.address)
        assert found.headers["x-headrace-dashboard-key"] == "the key"
        assert "cookie" not in found.headers
    assert len(authz.seen) == seen == 1


@pytest.mark.parametrize(
    ("path", "headers", "method"),
    [
        (PAGE + "ws", UPGRADE, "GET"),
        (PAGE + "status", {}, "DELETE"),
        (PAGE + "status", {"authorization": "Bearer bad"}, "GET"),
        (PAGE + "status?link=x", {}, "GET"),
        (PAGE + "status?a=b&link=x", {}, "GET"),
        (PAGE + "status?l%69nk=x", {}, "GET"),
        (PAGE + "a%20b", {}, "GET"),
        (PAGE + "status", {"host": "other.example"}, "GET"),
        ("/clusters/ca1/~good2/status", {}, "GET"),
        ("/clusters/ca1/~goo/status", {}, "GET"),
        ("/clusters/ca2/~good/status", {}, "GET"),
        ("/clusters/ca1/~good/../../ca2/status", {}, "GET"),
        ("/clusters/ca1/~good", {}, "GET"),
        ("/clusters/ca1/status", {}, "GET"),
        ("/clusters/ca1/x/~good/status", {}, "GET"),
    ],
)
async def test_everything_else_is_for_auth(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz, path: str, headers: dict[str, str], method: str
) -> None:
    seen = await _known(browser, authz)
    authz.open = False
    assert (await browser.get(path, headers, method)).code == 403
    assert len(authz.seen) == seen + 1


async def test_it_is_forgotten_when_auth_said(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz, eventually: Eventually
) -> None:
    authz.remembered = 0.3
    await _known(browser, authz)
    authz.open = False

    async def refused() -> bool:
        return (await browser.get(PAGE + "status", {})).code == 403

    await eventually(refused)


async def test_a_refusal_is_not_remembered(browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz) -> None:
    authz.open = False
    assert (await browser.get(PAGE + "status", {})).code == 403
    authz.open = True
    assert (await browser.get(PAGE + "status", {})).code == 200
    assert (await browser.get(PAGE + "status", TOKEN)).code == 200
