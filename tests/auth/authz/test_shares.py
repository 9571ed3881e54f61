"""Dashboards of shared clusters, and of clusters that only an admin may see: by token, link and session."""

from __future__ import annotations

import pytest
from tests.auth.authz.conftest import know, share
from tests.auth.authz.links import header, opened
from tests.auth.conftest import change_user
from tests.auth.running import Metadata, RunningAuth, failure, route, running_auth
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace import errors
from headrace.access import Share
from headrace.v1.enums import Right
from headrace_auth.authz import link_users
from headrace_auth.config import AuthSettings

PAGE = "/clusters/c2/status"


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups and roles are looked up for each request."""
    monkeypatch.setattr(link_users, "CACHE_SECONDS", 0)


async def status(auth: RunningAuth, caller: Metadata) -> int:
    return (await auth.ask(PAGE, authorization=header(caller))).status


@pytest.mark.parametrize(
    ("granted", "code"),
    [
        (share("users/ann"), 200),
        (share("groups/astro"), 200),
        (share("users/ann", expires=4e9), 200),
        (share("users/ann", expires=1.0), 403),
        (share("users/eve"), 403),
        (share("groups/bio"), 403),
        (share("users/ann", Right.CLUSTER_SCALE), 403),
        (share("users/ann", Right.CLUSTER_VIEW), 403),
    ],
)
async def test_a_share_that_lets_connect_opens_the_dashboard(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually, granted: Share, code: int
) -> None:
    known.send(route("c2", "bob", shares=(granted,)))
    await know(auth, known, eventually)
    assert await status(auth, ann) == code
    if code == 200:
        assert (await auth.ask(await opened(auth, await auth.link("c2", ann)))).status == 200
    else:
        assert isinstance(await failure(auth.link("c2", ann)), errors.ClusterNotFound)


async def test_a_session_ends_with_the_share(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually
) -> None:
    known.send(route("c2", "bob", shares=(share("users/ann"),)))
    await know(auth, known, eventually)
    page = await opened(auth, await auth.link("c2", ann))
    known.send(route("c2", "bob"))
    await know(auth, known, eventually)
    assert (await auth.ask(page)).status == 403


@pytest.mark.usefixtures("uncached")
async def test_a_session_by_a_group_ends_when_the_user_leaves_the_group(
    settings: AuthSettings, routes: FakeRoutes, eventually: Eventually
) -> None:
    async with running_auth(settings) as auth:
        routes.send(route("c2", "bob", shares=(share("groups/astro"),)))
        await know(auth, routes, eventually)
        page = await opened(auth, await auth.link("c2", await auth.login("ann", "ann's")))
        assert (await auth.ask(page)).status == 200
        change_user(settings, "ann", groups=())
        assert (await auth.ask(page)).status == 403


@pytest.mark.usefixtures("uncached")
async def test_a_link_carries_no_roles_an_admins_session_ends_with_the_role(
    settings: AuthSettings, routes: FakeRoutes, eventually: Eventually
) -> None:
    async with running_auth(settings) as auth:
        routes.send(route("c2", "bob"))
        await know(auth, routes, eventually)
        page = await opened(auth, await auth.link("c2", await auth.login("root", "root's")))
        assert (await auth.ask(page)).status == 200
        change_user(settings, "root", roles=("user",))
        assert (await auth.ask(page)).status == 403
        change_user(settings, "root", gone=True)
        assert (await auth.ask(page)).status == 401


async def test_the_owners_session_needs_no_look_up(
    settings: AuthSettings, auth: RunningAuth, known: FakeRoutes, bob: Metadata
) -> None:
    page = await opened(auth, await auth.link("c2", bob))
    change_user(settings, "bob", gone=True)
    assert (await auth.ask(page)).status == 200


async def test_what_was_looked_up_is_kept_briefly(
    settings: AuthSettings, auth: RunningAuth, known: FakeRoutes, root: Metadata
) -> None:
    page = await opened(auth, await auth.link("c2", root))
    change_user(settings, "root", roles=("user",))
    assert (await auth.ask(page)).status == 200
