"""Routes that auth knows: cluster c1 is ann's, c2 is bob's."""

from __future__ import annotations

import pytest
from tests.auth.conftest import BOOTSTRAP_SECRET
from tests.auth.running import RunningAuth, route
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace.access import Share
from headrace.v1.enums import Right


async def know(auth: RunningAuth, routes: FakeRoutes, eventually: Eventually) -> None:
    """Waits until auth knows the routes, by one more."""
    routes.send(route("last", "operator"))

    async def is_known() -> bool:
        answer = await auth.ask("/clusters/last/status", authorization=f"Bearer {BOOTSTRAP_SECRET}")
        return answer.status == 200

    await eventually(is_known)
    routes.send(removed=("clusters/last",))


@pytest.fixture
async def known(routes: FakeRoutes, auth: RunningAuth, eventually: Eventually) -> FakeRoutes:
    await eventually(lambda: routes.subscriptions)
    routes.send(route("c1", "ann"), route("c2", "bob", "10.0.0.8:8787"))
    await know(auth, routes, eventually)
    return routes


def share(member: str, right: Right = Right.CLUSTER_CONNECT, expires: float | None = None) -> Share:
    return Share(member, frozenset({right}), expires)
