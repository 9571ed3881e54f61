"""Each write is one round trip to Redis, whatever it checks and counts, and however many others there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.controller.queueing.waiting import FENCE, Replica, policy

from headrace_controller.model import Phase, Report, Status

pytestmark = pytest.mark.usefixtures("fence", "store")

GROUPS = ("lab", "staff")
LIMITS = {"clusters": 20, "workers": 20, "cores": 20}


async def sent(redis: Redis, work: Callable[[], Awaitable[object]]) -> list[str]:
    """Names of the commands that are sent meanwhile; those that scripts call are not sent."""
    async with redis.monitor() as monitor:
        await redis.echo("begins")
        await work()
        await redis.echo("ends")
        names: list[str] = []
        async for command in monitor.listen():
            if command["client_type"] != "lua":
                names.append(command["command"].split(" ")[0].upper())
            if command["command"].endswith("ends"):
                return names[names.index("ECHO") + 1 : -1]
    raise AssertionError("it did not end")


@pytest.mark.parametrize("others", [0, 30])
async def test_a_write_is_one_command(redis: Redis, others: int) -> None:
    limits = {"user": LIMITS, "deployment": LIMITS, "groups": dict.fromkeys(GROUPS, LIMITS)}
    replica = Replica(redis, policy(**limits, on_scale="queue"))
    records = replica.store.records

    async def live(note: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]) -> None:
        """Create, scale, report and end; every script, and waiting as well as running."""
        await note(lambda: replica.create("ann", 1, groups=GROUPS))
        cluster = max(replica.mirror.ids(), key=replica.mirror.place)
        seen = await replica.store.reads.get(cluster)
        wider = replace(seen.spec.groups[0], size=2)
        await note(lambda: replica.change(seen, lambda it: replace(it, spec=replace(it.spec, groups=(wider,)))))
        seen = await replica.store.reads.get(cluster)
        await note(lambda: records.save_report(seen, Report(session=1, sequence=1, connected=True)))
        seen = await replica.store.reads.get(cluster)
        ended = replace(seen, status=Status(phase=Phase.STOPPED, ended=1.0))
        await note(lambda: records.save_status(seen, ended, fence=FENCE))

    async def only_do(work: Callable[[], Awaitable[object]]) -> None:
        await work()

    async def check(work: Callable[[], Awaitable[object]]) -> None:
        assert await sent(redis, work) == ["EVALSHA"]

    await live(only_do)  # scripts are sent once
    for n in range(others):
        await replica.create(f"user-{n}")
    await live(check)
