"""Requests for dashboards, as Envoy asks about them, with routes from a (fake) controller."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
from argon2 import PasswordHasher
from tests.auth.authz.conftest import know
from tests.auth.authz.links import cookie_of, header, opened
from tests.auth.running import Metadata, RunningAuth, failure, route, running_auth
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.authz.answer import REMEMBERED_SECONDS
from headrace_auth.config import AuthSettings
from headrace_chassis.identity.dashboard_keys import DASHBOARD_KEY_HEADER, DashboardKeys
from headrace_chassis.identity.seal import read_deployment_keys

DESTINATION = "x-envoy-original-dst-host"
COOKIE = "__Secure-headrace"
UPGRADE = {"connection": "Upgrade", "upgrade": "websocket"}


async def test_auth_follows_routes_without_being_waited_for(known: FakeRoutes, settings: AuthSettings) -> None:
    (subscription,) = known.subscriptions
    assert (subscription.reader, subscription.acknowledges) == (f"auth-{settings.replica}", False)


async def test_a_link_becomes_a_session_in_the_path_of_the_pages(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    link = await auth.link("c1", ann, "workers")
    assert re.fullmatch(r"/clusters/c1/workers\?link=[\w.-]+", link)
    answer = await auth.ask(link + "&theme=dark", accept="text/html")
    assert answer.status == 302
    location = answer.headers["location"]
    assert re.fullmatch(r"/clusters/c1/~[\w.-]+/workers\?theme=dark", location)
    page = await auth.ask(location)
    assert (page.status, page.headers[DESTINATION]) == (200, "10.0.0.7:8787")
    assert (await auth.ask(location.replace("workers", "static/js/bokeh.min.js"))).status == 200


async def test_the_cookie_leads_back_to_the_session_and_opens_nothing_by_itself(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    answer = await auth.ask(await auth.link("c1", ann))
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert attributes == ["Path=/clusters/c1", "Max-Age=43200", "HttpOnly", "Secure", "SameSite=Lax"]
    cookie = await cookie_of(auth, await auth.link("c1", ann))
    typed = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    again = await auth.ask("/clusters/c1/tasks", cookie=f"theme=dark; {cookie}", **typed)
    session = cookie.partition("=")[2]
    assert (again.status, again.headers["location"]) == (302, f"/clusters/c1/~{session}/tasks")
    for how in (
        {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
        {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
        {"connection": "Upgrade", "upgrade": "websocket"},
    ):
        assert (await auth.ask("/clusters/c1/status", cookie=cookie, **how)).status == 401, how
    assert (await auth.ask("/clusters/c1/status", "POST", cookie=cookie)).status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("", 200),
        ("null", 200),
        ("https://headrace.example", 200),
        ("https://evil.example", 403),
        ("http://headrace.example", 403),
        ("https://headrace.example:444", 403),
        ("https://headrace.example.evil.example", 403),
    ],
)
async def test_websockets_and_changes_come_from_the_pages_themselves(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, origin: str, status: int
) -> None:
    page = await opened(auth, await auth.link("c1", ann))
    headers = {"origin": origin} if origin else {}
    assert (await auth.ask(page + "/ws", **UPGRADE, **headers)).status == status
    assert (await auth.ask(page, "POST", **headers)).status == status
    assert (await auth.ask(page, **headers)).status == 200


async def test_any_sandbox_has_the_origin_null_so_it_needs_the_session_in_the_path(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    token = {"authorization": header(ann)}
    assert (await auth.ask("/clusters/c1/status/ws", **UPGRADE, **token)).status == 200
    assert (await auth.ask("/clusters/c1/status/ws", origin="null", **UPGRADE, **token)).status == 403


async def test_a_websocket_with_a_link_passes_without_a_redirect(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    answer = await auth.ask(await auth.link("c1", ann, "status/ws"), **UPGRADE)
    assert (answer.status, answer.removed_parameters) == (200, ["link"])


async def test_a_dashboard_gets_its_key_and_no_credentials(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, settings: AuthSettings
) -> None:
    page = await auth.ask(await opened(auth, await auth.link("c1", ann)), cookie="theme=dark")
    assert page.removed == ["authorization", "cookie"]
    keys = DashboardKeys(read_deployment_keys(settings.deployment_key_file), settings.deployment)
    assert page.headers[DASHBOARD_KEY_HEADER] == keys.of("c1") != keys.of("c2")


async def test_envoy_may_remember_sessions_for_a_moment_and_nothing_else(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    page = await auth.ask(await opened(auth, await auth.link("c1", ann)))
    assert page.remembered == {
        "destination": page.headers[DESTINATION],
        "key": page.headers[DASHBOARD_KEY_HEADER],
        "seconds": REMEMBERED_SECONDS,
    }
    assert not (await auth.ask("/clusters/c1/status", authorization=header(ann))).remembered
    assert not (await auth.ask("/clusters/c1/~x.y.z/status")).remembered


async def test_each_dashboard_has_a_host_of_its_own_where_there_is_a_domain(
    settings: AuthSettings, routes: FakeRoutes, eventually: Eventually
) -> None:
    routes.send(route("c1", "ann"), route("c9", "ann"))
    async with running_auth(settings.model_copy(update={"dashboard_domain": "dash.example"})) as auth:
        ann = await auth.login("ann", "ann's")
        await know(auth, routes, eventually)
        answer = await auth.ask(await auth.link("c1", ann), host="headrace.example:8790")
        base = "https://c1.dash.example:8790"
        assert answer.headers["location"].startswith(f"{base}/clusters/c1/~")
        path = answer.headers["location"].removeprefix(base)
        for host, status in (
            ("c1.dash.example:8790", 200),
            ("C1.dash.example", 200),
            ("c9.dash.example", 404),
            ("x.c1.dash.example", 404),
            ("headrace.example", 200),  # sandboxed there
        ):
            assert (await auth.ask(path, host=host)).status == status, host
        origins = {"https://c1.dash.example": 200, "https://c9.dash.example": 403, "https://headrace.example": 403}
        for origin, status in origins.items():
            assert (await auth.ask(path, host="c1.dash.example", origin=origin, **UPGRADE)).status == status, origin


async def test_the_destination_is_ours_whatever_the_client_sends(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    spoofed = {DESTINATION: "169.254.169.254:80"}
    answer = await auth.ask("/clusters/c1/status", authorization=header(ann), **spoofed)
    assert answer.headers[DESTINATION] == "10.0.0.7:8787"  # overwrites, which `ask` has checked


@pytest.mark.parametrize(
    ("caller", "cluster", "status"),
    [
        ("ann", "c1", 200),
        ("ann", "c2", 403),
        ("bob", "c1", 403),
        ("bob", "c2", 200),
        ("root", "c1", 200),
        ("root", "c2", 200),
        ("ann", "c3", 404),
        ("root", "c3", 404),
    ],
)
async def test_owners_and_admins_pass_with_an_access_token(
    auth: RunningAuth, known: FakeRoutes, caller: str, cluster: str, status: int
) -> None:
    token = header(await auth.login(caller, f"{caller}'s"))
    assert (await auth.ask(f"/clusters/{cluster}/status", authorization=token)).status == status


async def test_an_api_token_passes_and_is_remembered_briefly(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    created = await auth.stub.CreateApiToken(pb.CreateApiTokenRequest(), metadata=ann)
    for _ in range(2):
        answer = await auth.ask("/clusters/c1/status", authorization=f"Bearer {created.secret}")
        assert answer.status == 200
    assert (await auth.ask("/clusters/c2/status", authorization=f"Bearer {created.secret}")).status == 403


@pytest.mark.parametrize("credential", ["Bearer nonsense", "Bearer hr_nonsense", "Basic YW5uOmFubg==", "", "Bearer"])
async def test_without_a_credential_that_is_good_it_is_401(
    auth: RunningAuth, known: FakeRoutes, credential: str
) -> None:
    answer = await auth.ask("/clusters/c1/status", authorization=credential)
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/plain")
    assert "dashboard_link" in answer.body


async def test_a_browser_is_given_a_page_that_says_what_to_do(auth: RunningAuth, known: FakeRoutes) -> None:
    answer = await auth.ask("/clusters/c1/status?<script>", accept="text/html,*/*")
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>Not signed in</h1>" in answer.body
    assert "<script>" not in answer.body


async def test_a_link_or_session_is_good_for_its_cluster_only(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    known.send(route("c9", "ann"))
    link = await auth.link("c1", ann)
    page, cookie = await opened(auth, link), await cookie_of(auth, link)
    assert (await auth.ask(link.replace("/c1/", "/c9/"))).status in {403, 404}
    assert (await auth.ask(page.replace("/c1/", "/c9/"))).status in {403, 404}
    assert (await auth.ask("/clusters/c9/status", cookie=cookie)).status in {403, 404}


async def test_neither_kind_of_token_is_taken_for_another(auth: RunningAuth, known: FakeRoutes, ann: Metadata) -> None:
    link = (await auth.link("c1", ann)).partition("link=")[2]
    access = header(ann).removeprefix("Bearer ")
    assert (await auth.ask("/clusters/c1/status", authorization=f"Bearer {link}")).status == 401
    assert (await auth.ask("/clusters/c1/status", cookie=f"{COOKIE}={link}")).status == 401
    for token in (link, access, "x"):
        assert (await auth.ask(f"/clusters/c1/~{token}/status")).status == 401
    assert (await auth.ask(f"/clusters/c1/status?link={access}")).status == 401
    metadata = (("authorization", f"Bearer {link}"),)
    assert isinstance(await failure(auth.stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)), errors.TokenInvalid)


async def test_an_old_link_opened_again_does_with_the_cookie(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    cookie = await cookie_of(auth, await auth.link("c1", ann))
    answer = await auth.ask("/clusters/c1/status?link=no.longer.good", cookie=cookie)
    assert (answer.status, answer.headers["location"]) == (302, f"/clusters/c1/~{cookie.partition('=')[2]}/status")


@pytest.mark.parametrize(
    "path",
    [
        "/clusters/c1/../c2/status",
        "/clusters/c1/%2e%2e/c2/status",
        "/clusters/c1/..%2fc2/status",
        "/clusters/c1/%252e%252e/c2",
        "/clusters/c1//c2",
        "/clusters/c1\\..\\c2",
        "/clusters/c1/a%00b",
        "//evil.example/clusters/c1/",
        "/clusters/",
        "/clusters/C1/status",
        "/clusters/" + "c" * 64,
        "/other",
        "",
    ],
)
async def test_paths_that_are_read_in_two_ways_are_nobodys(
    auth: RunningAuth, known: FakeRoutes, root: Metadata, path: str
) -> None:
    assert (await auth.ask(path, authorization=header(root))).status == 404


async def test_a_cluster_without_a_dashboard_says_so(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually
) -> None:
    known.send(route("c1", "ann", dashboard=""))

    async def says_so() -> bool:
        return (await auth.ask("/clusters/c1/status", authorization=header(ann))).status == 503

    await eventually(says_so)


async def test_a_removed_route_is_404_and_routes_are_kept_while_the_controller_is_away(
    settings: AuthSettings, auth: RunningAuth, ann: Metadata, bob: Metadata, eventually: Eventually
) -> None:
    async def status(cluster: str, caller: Metadata) -> int:
        return (await auth.ask(f"/clusters/{cluster}/status", authorization=header(caller))).status

    async def is_now(cluster: str, caller: Metadata, wanted: int) -> bool:
        return await status(cluster, caller) == wanted

    assert await status("c1", ann) == 503
    fake = FakeRoutes(settings.route_address)
    fake.send(route("c1", "ann"), route("c2", "bob"))
    await fake.start()
    await eventually(lambda: is_now("c1", ann, 200))
    fake.send(removed=("clusters/c1",))
    await eventually(lambda: is_now("c1", ann, 404))
    await fake.stop()
    assert await status("c2", bob) == 200
    fake.send(route("c1", "ann"), removed=("clusters/c2",))
    await fake.start()
    await eventually(lambda: is_now("c1", ann, 200))
    await eventually(lambda: is_now("c2", bob, 404))
    await fake.stop()


@pytest.mark.parametrize(
    "page", ["../c2/status", "//evil", "a b", "status?x=1", "x" * 2000, "http://evil", "a/../../b"]
)
async def test_a_link_to_a_page_elsewhere_is_refused(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, page: str
) -> None:
    if page == "//evil":
        assert (await auth.link("c1", ann, page)).startswith("/clusters/c1/evil?link=")
        return
    assert isinstance(await failure(auth.link("c1", ann, page)), errors.InvalidRequest)


async def test_links_are_made_for_ones_own_clusters_only(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, root: Metadata
) -> None:
    for cluster in ("c2", "c3"):
        assert isinstance(await failure(auth.link(cluster, ann)), errors.ClusterNotFound)
    assert await auth.link("c2", root)


async def test_without_routes_no_link_is_made_yet(auth: RunningAuth, ann: Metadata) -> None:
    assert isinstance(await failure(auth.link("c1", ann)), errors.StoreUnavailable)


async def test_an_expired_link_says_where_to_get_a_fresh_one(
    settings: AuthSettings, routes: FakeRoutes, eventually: Eventually
) -> None:
    routes.send(route("c1", "ann"))
    short = settings.model_copy(update={"link_seconds": 0})
    async with running_auth(short) as auth:
        ann = await auth.login("ann", "ann's")
        await know(auth, routes, eventually)
        answer = await auth.ask(await auth.link("c1", ann))
    assert answer.status == 401
    assert "has expired" in answer.body


async def test_logins_being_checked_do_not_hold_up_dashboards(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking, may_end = threading.Event(), threading.Event()

    def verify(*_: object) -> bool:
        checking.set()
        return may_end.wait(30)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    logins = [asyncio.create_task(auth.login("bob", "bob's")) for _ in range(6)]
    try:
        assert await asyncio.to_thread(checking.wait, 30)
        assert (await auth.ask("/clusters/c1/status", authorization=header(ann))).status == 200
        assert not any(login.done() for login in logins)
    finally:
        may_end.set()
    await asyncio.gather(*logins)


async def test_routes_that_cannot_be_read_stop_nothing(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually
) -> None:
    known.send(route("a/b", "ann"), route("c" * 100_000, "ann"), route("c8", "a/b"), route("c9", "ann"))
    await know(auth, known, eventually)
    statuses = {
        c: (await auth.ask(f"/clusters/{c}/status", authorization=header(ann))).status for c in ("c1", "c8", "c9")
    }
    assert statuses == {"c1": 200, "c8": 403, "c9": 200}
    assert len(known.subscriptions) == 1


@pytest.mark.parametrize("address", ["169.254.169.254:80", "127.0.0.1:8787", "[::ffff:10.0.0.7]:80", "metadata:80"])
async def test_a_dashboard_where_no_route_may_lead_is_none(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually, address: str
) -> None:
    known.send(route("c1", "ann", address))
    await know(auth, known, eventually)
    assert (await auth.ask("/clusters/c1/status", authorization=header(ann))).status == 503
