"""What usage, budgets and audit add to a write: round trips to Redis, and time in it."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from hashlib import sha1
from pathlib import Path
from statistics import median

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.tables import Row
from benchmarks.growth.workers import Watch, scale
from benchmarks.tenants.admission import lives, new_replica
from benchmarks.tenants.valkey import learn, name_of, valkey

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.redis.lua import Script
from headrace_controller.store import records

_POLICY = """
profiles: {default: {prices: {core_hour: 0.02, memory_gib_hour: 0.002}}}
limits: {user: {clusters: 1000, workers: 1000}, deployment: {cores: 100000}, on_create: queue, on_scale: queue}
budgets: {user: [{per: month, cost: 1000, then: stop}]}
culling: {idle: {after: 1 h}, lifetime: 7 d}
"""
_METERED = ("create", "change", "save_status")
_WRITES = (*_METERED, "save_report")
_FOLLOWING = {"XREAD", "XRANGE", "XREVRANGE", "GET", "other script"}  # of changes, and leases: not for one write
_AUDIT, _AUDITED_SECONDS = "XADD", 0.2
_METER = "local function meter(ask, record, demand)\n"


async def measure(small: bool) -> AsyncIterator[list[Row]]:
    repeated = 3 if small else 7
    with tempfile.NamedTemporaryFile("w") as policy:
        policy.write(_POLICY)
        policy.flush()
        yield [
            *await _round_trips("neither policy nor audit", repeated, audit={"kept": 0}),
            *await _round_trips("limits, queue, budgets, prices, culling, audit", repeated, policy_file=policy.name),
        ]
    with_usage = {name: getattr(records, f"_{name}") for name in _METERED}
    rows: list[Row] = []
    for of, scripts in (("with usage", with_usage), ("without", {n: _without(s) for n, s in with_usage.items()})):
        for name, script in scripts.items():
            setattr(records, f"_{name}", script)
            learn(script)
        async with valkey() as redis:
            rows.append(await lives(redis, await new_replica(redis, user={"clusters": 1000}), Row(of, "in Redis, µs")))
    yield rows


def _without(script: Script) -> Script:
    """The same script, whose meter does nothing."""
    assert _METER in script.text
    text = script.text.replace(_METER, f"{_METER}  do return end\n")
    return Script(script.name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def _round_trips(of: str, repeated: int, **settings: object) -> list[Row]:
    """What the controller sends to Redis for each of a cluster's changes until all is done."""
    seen: dict[str, list[Counter[str]]] = {}
    with tempfile.TemporaryDirectory(prefix="hrt-") as directory:
        async with Deployment(Path(directory), **settings) as deployment, deployment.redis.monitor() as monitor:
            sent: list[str] = []

            async def listen() -> None:
                async for command in monitor.listen():
                    if command["client_type"] != "lua":
                        sent.append(name_of(command["command"].encode("latin-1", "replace")))  # noqa: PERF401 read meanwhile

            async def note(name: str, work: Callable[[], Awaitable[object]]) -> None:
                sent.clear()
                await work()
                await deployment.meter.settle()
                await asyncio.sleep(_AUDITED_SECONDS)
                seen.setdefault(name, []).append(Counter(sent))

            listening = asyncio.create_task(listen())
            user = await deployment.user("ann")
            for _ in range(repeated):
                made: list[tuple[cluster_pb2.Cluster, Watch]] = []
                await note("create", partial(_create, user, made))
                [(cluster, watch)] = made
                await note("scale by 1", partial(_scale, user, cluster, watch))
                await note("stop", partial(_stop, user, cluster, watch))
                await watch.close()
            listening.cancel()
    return [Row(f"{name}: {of}", "sent to Redis until all is done", _medians(counts)) for name, counts in seen.items()]


def _medians(counts: list[Counter[str]]) -> dict[str, float]:
    names = (*_WRITES, _AUDIT)
    found = {name: float(median(count[name] for count in counts)) for name in names}
    others = (sum(n for name, n in count.items() if name not in names and name not in _FOLLOWING) for count in counts)
    return found | {"others": float(median(others))}


async def _create(user: User, made: list[tuple[cluster_pb2.Cluster, Watch]]) -> None:
    cluster = await user.create()
    watch = Watch(user, cluster.name)
    await watch.until(phase=cluster_pb2.PHASE_RUNNING)
    made.append((cluster, watch))


async def _scale(user: User, cluster: cluster_pb2.Cluster, watch: Watch) -> None:
    await scale(user, cluster, 1)
    await watch.until(running=1)


async def _stop(user: User, cluster: cluster_pb2.Cluster, watch: Watch) -> None:
    await user.call("StopCluster", pb.StopClusterRequest(name=cluster.name))
    await watch.until(phase=cluster_pb2.PHASE_STOPPED)
