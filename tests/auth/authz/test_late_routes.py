"""A cluster runs, and is shared, as soon as the proxy knows its route; auth may hear of it a moment later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from tests.auth.authz.conftest import share
from tests.auth.authz.links import header
from tests.auth.running import Metadata, RunningAuth, failure, route
from tests.fake_routes import FakeRoutes

from headrace.errors import ClusterNotFound
from headrace_auth.authz import route_table

T = TypeVar("T")
PAGE = "/clusters/c3/status"


@pytest.fixture
def patient(known: FakeRoutes, monkeypatch: pytest.MonkeyPatch) -> FakeRoutes:
    """Routes that auth knows, and waits for news of from now on."""
    monkeypatch.setattr(route_table, "HEAR_SECONDS", 60)
    return known


async def after_news(routes: FakeRoutes, shared: bool, asked: Awaitable[T]) -> T:
    """Asks about bob's cluster c3 before auth knows it, or knows that it is shared with ann; returns the answer."""
    if shared:
        routes.send(route("c3", "bob"))
    answer = asyncio.ensure_future(asked)
    routes.send(route("c4", "bob"))
    await asyncio.wait([answer], timeout=0.3)
    assert not answer.done()
    routes.send(route("c3", "bob", shares=(share("users/ann"),)))
    return await answer


@pytest.mark.parametrize("shared", [False, True], ids=["cluster", "share"])
async def test_a_link_is_made_as_soon_as_auth_hears_of_the(
    auth: RunningAuth, patient: FakeRoutes, ann: Metadata, shared: bool
) -> None:
    assert (await after_news(patient, shared, auth.link("c3", ann))).startswith(f"{PAGE}?link=")


@pytest.mark.parametrize("shared", [False, True], ids=["cluster", "share"])
async def test_a_dashboard_opens_as_soon_as_auth_hears_of_the(
    auth: RunningAuth, patient: FakeRoutes, ann: Metadata, shared: bool
) -> None:
    assert (await after_news(patient, shared, auth.ask(PAGE, authorization=header(ann)))).status == 200


async def test_what_auth_does_not_hear_of_is_refused_after_a_moment(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata
) -> None:
    assert isinstance(await failure(auth.link("c3", ann)), ClusterNotFound)
    assert (await auth.ask(PAGE, authorization=header(ann))).status == 404
