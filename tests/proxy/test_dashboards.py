"""Dashboards through a real Envoy: who gets in, where to, and what comes along."""

from __future__ import annotations

from tests.fake_routes import FakeRoutes
from tests.proxy.browser import TOKEN, UPGRADE, Browser, asked
from tests.proxy.fake_authz import FakeAuthz
from tests.proxy.fake_dashboard import WIDENING, FakeDashboard
from tests.proxy.running_proxy import RunningProxy


async def test_a_dashboard_is_served_below_its_prefix(browser: Browser, dashboard: FakeDashboard) -> None:
    assert asked(await browser.get("/clusters/ca1/status?x=1&y=a%2Fb")).uri == "/status?x=1&y=a%2Fb"
    assert asked(await browser.get("/clusters/ca1/")).uri == "/"
    assert asked(await browser.get("/clusters/ca1/~a.b-c_d/static/js/x.js")).uri == "/static/js/x.js"
    assert asked(await browser.get("/clusters/ca1/x/~y/z")).uri == "/x/~y/z"


async def test_a_dashboard_without_its_last_slash_is_found(browser: Browser, dashboard: FakeDashboard) -> None:
    response = await browser.get("/clusters/ca1?link=abc")
    assert response.code == 308
    assert response.headers["location"] == f"https://{browser.public}/clusters/ca1/?link=abc"


async def test_websockets_pass(browser: Browser, dashboard: FakeDashboard) -> None:
    socket = await browser.open_socket("/clusters/ca1/ws")
    await socket.write_message("hello")
    assert await socket.read_message() == "hello"
    socket.close()
    assert await socket.read_message() is None


async def test_who_has_no_right_is_refused_with_auths_own_words(browser: Browser, dashboard: FakeDashboard) -> None:
    response = await browser.get("/clusters/ca1/status", headers={})
    assert (response.code, response.body) == (403, b"this dashboard is not yours\n")
    assert (await browser.get("/clusters/ca1/ws", headers=UPGRADE)).code == 403


async def test_without_auth_nobody_gets_in_and_the_answer_explains_it(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz
) -> None:
    await authz.stop()
    response = await browser.get("/clusters/ca1/status")
    assert response.code == 503
    assert response.body == b"headrace's auth service does not answer; try again in a moment.\n"


async def test_a_dashboard_that_is_gone_is_reported_as_such(browser: Browser, authz: FakeAuthz) -> None:
    authz.dashboards["ca1"] = "127.0.0.1:9"
    response = await browser.get("/clusters/ca1/status")
    assert response.code == 503
    assert response.body.startswith(b"The dashboard of this cluster does not answer.")


async def test_nobody_outside_chooses_the_destination(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz
) -> None:
    spoofed = {"x-envoy-original-dst-host": "127.0.0.1:1", "x-headrace-user": "admin", "X-Envoy-Foo": "1"}
    headers = asked(await browser.get("/clusters/ca1/status", TOKEN | spoofed)).headers
    assert not set(authz.seen[-1]) & {name.lower() for name in spoofed}
    ours = {name: value for name, value in headers.items() if name.startswith(("x-envoy-", "x-headrace-"))}
    assert ours == {"x-headrace-dashboard-key": "the key"}


async def test_what_proves_the_user_stays_at_the_gateway(browser: Browser, dashboard: FakeDashboard) -> None:
    sent = {"cookie": "headrace_session=secret", "origin": "null", "referer": "https://x/clusters/ca1/~secret/status"}
    response = await browser.get("/clusters/ca1/status", TOKEN | sent)
    assert not {"authorization", *sent} & set(asked(response).headers)
    assert response.headers.get_list("set-cookie") == ["headrace_session=secret"]


async def test_escaped_slashes_are_refused(browser: Browser, dashboard: FakeDashboard) -> None:
    for path in ("/clusters/ca1/..%2fca2/status", "/clusters%2fca1/", "/clusters/ca1/%5c..%5cx"):
        assert (await browser.get(path)).code == 400, path


async def test_dots_are_resolved_before_anybody_is_asked(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz
) -> None:
    assert (await browser.get("/clusters/ca1/../ca2/status")).code == 403
    assert authz.seen[-1][":path"] == "/clusters/ca2/status"
    assert asked(await browser.get("/clusters//ca1///status")).uri == "/status"


async def test_other_paths_answer_with_what_is_served_here(browser: Browser, dashboard: FakeDashboard) -> None:
    for path in ("/", "/clusters", "/clusters/", "/metrics", "/clusters/CA1/status", "/ready"):
        response = await browser.get(path)
        assert response.code == 404, path
        assert b"This is a headrace gateway" in response.body


async def test_pages_are_sandboxed_and_cannot_widen_what_they_may_do(
    browser: Browser, dashboard: FakeDashboard
) -> None:
    headers = (await browser.get("/clusters/ca1/status")).headers
    (policy,) = headers.get_list("content-security-policy")
    assert policy.endswith("; frame-ancestors 'self'")
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get_list("referrer-policy") == ["no-referrer"]
    kept = {"content-security-policy", "referrer-policy", "set-cookie"}  # the cookie is auth's: see above
    assert not (set(WIDENING) - kept) & {name.lower() for name in headers}


async def test_a_host_of_ones_own_needs_no_sandbox_and_serves_dashboards_only(
    idle_proxy: RunningProxy, controller: FakeRoutes, dashboard: FakeDashboard, browser_of: Browser
) -> None:
    await idle_proxy.start(dashboard_domain="dash.example", dashboard_frame_ancestors="'self' https://hub.example")
    for host in ("ca1.dash.example", "ca1.dash.example:8790"):
        response = await browser_of.get("/clusters/ca1/status", TOKEN | {"host": host})
        assert asked(response).uri == "/status"
        assert response.headers["content-security-policy"] == "frame-ancestors 'self' https://hub.example"
        assert "service-worker-allowed" not in response.headers
        assert (await browser_of.get("/other", TOKEN | {"host": host})).code == 404
    response = await browser_of.get("/clusters/ca1/status")
    assert response.headers["content-security-policy"].startswith("sandbox ")
