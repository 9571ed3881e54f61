"""Records that are damaged, or of a newer release."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from tests.controller.builders import running_worker
from tests.controller.damage import overwrite, overwrite_worker
from tests.controller.running import DEPLOYMENT, User

from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId, Phase, Status
from headrace_controller.store.codec import pack

KEYS = Keys(Prefix(DEPLOYMENT))
GARBAGE = b"\xc1"  # which msgpack never writes
Damage = Callable[[Redis, ClusterId], Awaitable[object]]


def field(**values: bytes | str | None) -> Damage:
    return lambda redis, cluster: overwrite(redis, KEYS, cluster, **values)


def piece(name: str, packed: bytes) -> Damage:
    return lambda redis, cluster: overwrite_worker(redis, KEYS, cluster, name, packed)


UNREADABLE: dict[str, Damage] = {
    "no spec": field(spec=None),
    "a spec that is none": field(spec=GARBAGE),
    "targets": field(targets=GARBAGE),
    "a report": field(report=pack({"session": "one"})),
    "numbers that are none": field(generation="first", created="yesterday"),
    "a phase of a newer release": field(status=pack({"phase": "SUSPENDED"})),
    "a worker": piece("worker/default-9-a", GARBAGE),
    "a worker's state of a newer release": piece(
        "worker/default-9-a", pack({"id": "default-9-a", "group": "default", "state": "FROZEN"})
    ),
    "what was reported of a worker": piece("report/default-9-a", GARBAGE),
}
"""Damage that keeps a record from being read."""

STRANGE: dict[str, Damage] = {
    "a time that cannot be shown": field(created="1e300"),
    "a worker of no group": piece("worker/x-1-a", pack(running_worker("x-1-a", group="x"))),
    "a route version that cannot be compared": field(
        status=pack(Status(phase=Phase.STARTING, scheduler_created=time.time())), route_version="later-than-that"
    ),
}
"""Damage that shows only when the record is planned for, or shown."""


async def events(user: User, name: str) -> list[int]:
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return [event.type for event in answer.cluster_events]


async def listed(user: User) -> set[str]:
    answer = await user.call("ListClusters", pb.ListClustersRequest(page_size=1000))
    return {cluster.name for cluster in answer.clusters}
