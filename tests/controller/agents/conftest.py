"""Replicas that hold sessions: each with a mirror of its own over one real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.controller.agents.stream import Stream

from headrace_controller.admission import Admission
from headrace_controller.agents.address_checks import AddressChecks
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.sessions import Sessions
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import build_profiles
from headrace_controller.store import Store

CLOCK = 2000.0
SILENCE = 0.5  # seconds after which a scheduler that sends heartbeats is silent


@dataclass
class Replica:
    """What a controller has for its sessions; it can adopt records of `lost` when it has raised all `errors`."""

    store: Store
    mirror: ClusterMirror
    admission: Admission
    name: str
    machine: FakeMachine = field(default_factory=FakeMachine)
    lost: dict[str, Cluster] = field(default_factory=dict[str, Cluster])
    errors: list[Exception] = field(default_factory=list[Exception])

    def __post_init__(self) -> None:
        self.events = events = AgentEvents(self.store, clock=lambda: CLOCK, summary_seconds=0.01)
        self.sessions = Sessions(
            self.store,
            self.mirror,
            self.admission,
            addresses=AddressChecks(FakeBackend(self.machine), events),
            events=events,
            replica=self.name,
            adopt=self._adopt,
            clock=lambda: CLOCK,
            silence_seconds=SILENCE,
        )
        self.mirror.connect(self.sessions)
        self.streams: list[Stream] = []

    def connect(self, cluster: ClusterId, *workers: str, session: int = 10, **hello: Any) -> Stream:
        found = self.mirror.get(cluster)
        assert found is not None
        self.streams.append(Stream(self.sessions, found, *workers, session=session, **hello))
        return self.streams[-1]

    def record(self, cluster: ClusterId) -> Cluster:
        found = self.mirror.get(cluster)
        assert found is not None
        return found

    async def _adopt(self, cluster: str) -> bool:
        if self.errors:
            raise self.errors.pop(0)
        if (record := self.lost.pop(cluster, None)) is None:
            return False
        demand = self.admission.demand(record)
        if adopted := await self.store.records.adopt(record, secrets=b"sealed", demand=demand):
            self.mirror.apply(adopted)
        return True


@pytest.fixture
def admission() -> Admission:
    """At most 6 cores for a user; a worker has one, where its options have no other number."""
    policy = PolicyFile.read("{limits: {user: {cores: 6}}, scheduler: {cores: 0, memory_bytes: 0}}")
    return Admission(policy, build_profiles(policy, {"fake": []}))


@pytest.fixture
async def replicas(
    redis: Redis, keys: Keys, store: Store, admission: Admission
) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas, *a* and *b*."""
    made = [Replica(Store(redis, keys), ClusterMirror(Store(redis, keys)), admission, name) for name in ("a", "b")]
    tasks = [asyncio.create_task(replica.mirror.run()) for replica in made]
    for replica in made:
        await replica.mirror.ready.wait()
    yield made[0], made[1]
    for replica in made:
        for stream in replica.streams:
            await stream.cut()
        await replica.sessions.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def replica(replicas: tuple[Replica, Replica]) -> Replica:
    return replicas[0]
