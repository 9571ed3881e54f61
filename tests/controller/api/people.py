"""Everybody that a shared cluster knows, and what each of them may do with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tests.controller.errors_of import fails
from tests.controller.running import Replica
from tests.controller.user import User

from headrace.access import Access, Share, may
from headrace.errors import ClusterNotFound, HeadraceError, PermissionDenied
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import ADMIN, USER, Caller

SHARED = {
    "vera": Right.CLUSTER_VIEW,
    "carl": Right.CLUSTER_CONNECT,
    "sue": Right.CLUSTER_SCALE,
    "tom": Right.CLUSTER_STOP,
}
PEOPLE = ["ann", "root", *SHARED, "bob"]
"""Owner, admin, viewer, connector, scaler, stopper, stranger."""

ACCESS = Access("ann", shares=tuple(Share(f"users/{name}", frozenset({right})) for name, right in SHARED.items()))


def caller(name: str) -> Caller:
    return Caller(name, roles=frozenset({ADMIN if name == "root" else USER}))


async def people(controller: Replica) -> dict[str, User]:
    return {name: await controller.user(name, *caller(name).roles) for name in PEOPLE}


async def shared_cluster(ann: User) -> str:
    shares = [
        cluster_pb2.Share(member=f"users/{name}", rights=[right_pb2.Right.Value(f"RIGHT_{right}")])
        for name, right in SHARED.items()
    ]
    return (await ann.create(request={"shares": shares})).name


def expected(name: str, right: Right, passes: type[HeadraceError] | None) -> type[HeadraceError] | None:
    if not may(caller(name), Right.CLUSTER_VIEW, ACCESS):
        return ClusterNotFound
    return passes if may(caller(name), right, ACCESS) else PermissionDenied


async def outcome(call: Awaitable[Any], error: type[HeadraceError] | None) -> None:
    if error is None:
        await call
    else:
        await fails(error, call)
