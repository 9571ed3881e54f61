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

    async def answers(status: int) -> bool:
        answer = await auth.ask("/clusters/last/status", authorization=f"Bearer {BOOTSTRAP_SECRET}")
        return answer.status == status

    routes.send(route("last", "operator"))
    await eventually(lambda: answers(200))
    routes.send(removed=("clusters/last",))
    await eventually(lambda: answers(404))  # or the next one who waits would still find it


@pytest.fixture
async def known(routes: FakeRoutes, auth: RunningAuth, eventually: Eventually) -> FakeRoutes:
    await eventually(lambda: routes.subscriptions)
    routes.send(route("c1", "ann"), route("c2", "bob", "10.0.0.8:8787"))
    await know(auth, routes, eventually)
    return routes


def share(member: str, right: Right = Right.CLUSTER_CONNECT, expires: float | None = None) -> Share:
    return Share(member, frozenset({right}), expires)
