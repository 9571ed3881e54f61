"""What every backend that keeps processes in standby must do, however many controllers give and keep them.

A test module subclasses `StandbyContract`, and says what its platform has in standby.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import pytest
from tests.backends.processes import new_cluster, spec, status
from tests.conftest import Eventually

from headrace.errors import TokenInvalid
from headrace_controller.backends.base import Assignment, Backend, BackendError, StandBys
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, ProcessState, Role

PROFILE = "small"
"""The profile of all processes here."""
SCHEDULERS, WORKERS = 2, 1
"""How many of it the platform's administrator wants in standby."""


class StandbyBackend(Backend, StandBys, Protocol):
    """A backend with processes in standby."""


class StandbyPlatform(Protocol):
    """Two controllers of one deployment, and what people do to the processes that belong to nobody.

    The processes run nothing: tests say when one is ready, by `stand_by`.
    """

    keeper: StandbyBackend
    other: StandbyBackend

    def in_standby(self, role: Role) -> Sequence[str]:
        """Launches of the processes of a role that belong to nobody, as both controllers know them."""
        ...

    def is_ready(self, launch: str) -> bool:
        """Whether both controllers know that a process in standby is ready."""
        ...

    async def end(self, launch: str) -> None:
        """Somebody ends a process in standby."""
        ...

    async def change_profile(self) -> None:
        """The administrator changes what processes of the profile are; both controllers have heard of it."""
        ...


def pattern(role: Role) -> ProcessSpec:
    """What the controller asks to be kept."""
    made = spec("", SCHEDULER, owner="", agent_token="", generation=0, labels={"profile": PROFILE})
    return replace(made, role=role, settings={})


PATTERNS = (pattern(Role.SCHEDULER), pattern(Role.WORKER))


def process(cluster: str, name: str = SCHEDULER, /, **facts: Any) -> ProcessSpec:
    """A process of ann's that one in standby can become."""
    labels = {"profile": PROFILE, "owner": "ann@example.org", "tag/a": "b"}
    made = spec(cluster, name, owner="ann@example.org", labels=labels)
    return replace(made, **{"settings": {}, **facts})


class StandbyContract:
    """Tests for any backend that keeps processes in standby."""

    @pytest.fixture
    def platform(self) -> StandbyPlatform:
        """Returns a platform whose controllers are open."""
        raise NotImplementedError

    @pytest.fixture
    def cluster(self) -> str:
        return new_cluster()

    async def test_so_many_are_kept_as_the_administrator_wants_and_belong_to_nobody(
        self, platform: StandbyPlatform, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        await _kept(platform, eventually)
        assert await platform.keeper.observe() == []
        assert await platform.other.observe() == []
        await platform.keeper.keep(PATTERNS)  # repeated
        await _kept(platform, eventually)

    async def test_one_becomes_a_process_and_another_takes_its_place(
        self, platform: StandbyPlatform, cluster: str, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        [launch, _], [worker] = await _kept(platform, eventually)
        waiting = [await _wait(platform, platform.keeper, each, eventually) for each in (launch, worker)]
        await platform.other.start([process(cluster), process(cluster, "w-1")])
        assert await asyncio.gather(*waiting) == [
            Assignment(key=ProcessKey(cluster, SCHEDULER), role=Role.SCHEDULER, generation=3),
            Assignment(key=ProcessKey(cluster, "w-1"), role=Role.WORKER, generation=3),
        ]
        found = await status(platform.other, cluster)
        assert (found.key, found.generation) == (ProcessKey(cluster, SCHEDULER), 3)
        await platform.other.start([process(cluster)])  # repeated
        assert len(await platform.other.observe(cluster)) == 2
        schedulers, workers = await _kept(platform, eventually)
        assert {launch, worker}.isdisjoint({*schedulers, *workers})

    async def test_one_is_given_to_one_cluster_whoever_gives_it(
        self, platform: StandbyPlatform, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        [launch, _], _ = await _kept(platform, eventually)
        waiting = await _wait(platform, platform.keeper, launch, eventually)
        clusters = [new_cluster() for _ in range(2)]
        await asyncio.gather(
            platform.keeper.start([process(clusters[0])]), platform.other.start([process(clusters[1])])
        )
        for one, cluster in zip((platform.keeper, platform.other), clusters, strict=True):
            assert (await status(one, cluster)).key == ProcessKey(cluster, SCHEDULER)
        given = await waiting
        assert given.key.cluster in clusters
        assert await platform.other.stand_by(launch) == given

    async def test_only_what_would_be_launched_is_given(
        self, platform: StandbyPlatform, cluster: str, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        schedulers, _ = await _kept(platform, eventually)
        waiting = [await _wait(platform, platform.keeper, each, eventually) for each in schedulers]
        different = [
            process(new_cluster(), environment={"OMP_NUM_THREADS": "4"}),  # has an effect at the start only
            process(new_cluster(), settings={"image": "localhost/other:test"}),
            process(cluster, "w-1"),
        ]
        for each in different:
            await platform.keeper.start([each])
            assert (await status(platform.keeper, each.key.cluster, each.key.process)).key == each.key
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        assert sorted(platform.in_standby(Role.SCHEDULER)) == sorted(schedulers)

    async def test_a_stream_with_any_controller_hears_it_also_one_that_comes_late(
        self, platform: StandbyPlatform, cluster: str, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        [launch, _], _ = await _kept(platform, eventually)
        elsewhere = await _wait(platform, platform.other, launch, eventually)
        await platform.keeper.start([process(cluster)])
        assert (await elsewhere).key.cluster == cluster
        assert (await platform.keeper.stand_by(launch)).key.cluster == cluster
        assert (await platform.other.stand_by(launch)).key.cluster == cluster

    async def test_what_nobody_has_launched_does_not_stand_by(self, platform: StandbyPlatform) -> None:
        with pytest.raises((TokenInvalid, BackendError)):
            await platform.keeper.stand_by("00000000-0000-0000-0000-000000000000")

    async def test_one_that_somebody_ends_is_replaced(
        self, platform: StandbyPlatform, cluster: str, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        [launch, left], _ = await _kept(platform, eventually)
        waiting = await _wait(platform, platform.keeper, launch, eventually)
        await platform.end(launch)
        await eventually(lambda: launch not in platform.in_standby(Role.SCHEDULER))
        schedulers, _ = await _kept(platform, eventually)
        assert left in schedulers
        await platform.keeper.start([process(cluster)])  # nothing is ready
        assert (await status(platform.keeper, cluster)).state is not ProcessState.EXITED
        assert not waiting.done()
        waiting.cancel()

    async def test_a_changed_profile_replaces_them(self, platform: StandbyPlatform, eventually: Eventually) -> None:
        await platform.keeper.keep(PATTERNS)
        before = {launch for each in await _kept(platform, eventually) for launch in each}
        await platform.change_profile()
        await platform.keeper.keep(PATTERNS)
        await eventually(lambda: before.isdisjoint(_all(platform)))
        await _kept(platform, eventually)

    async def test_those_of_profiles_that_are_gone_end_and_what_was_given_runs_on(
        self, platform: StandbyPlatform, cluster: str, eventually: Eventually
    ) -> None:
        await platform.keeper.keep(PATTERNS)
        [launch, _], _ = await _kept(platform, eventually)
        waiting = await _wait(platform, platform.keeper, launch, eventually)
        await platform.keeper.start([process(cluster)])
        await waiting
        await platform.keeper.keep(())
        await eventually(lambda: not _all(platform))
        assert (await status(platform.keeper, cluster)).state is not ProcessState.EXITED

    async def test_another_controller_takes_them_over(self, platform: StandbyPlatform, eventually: Eventually) -> None:
        await platform.keeper.keep(PATTERNS)
        before = {launch for each in await _kept(platform, eventually) for launch in each}
        await platform.keeper.keep(None)
        await platform.other.keep(PATTERNS)
        [ended, *_] = platform.in_standby(Role.WORKER)
        await platform.end(ended)
        await eventually(lambda: ended not in _all(platform))
        after = {launch for each in await _kept(platform, eventually) for launch in each}
        assert before - after == {ended}
        await platform.other.keep(())
        await eventually(lambda: not _all(platform))


def _all(platform: StandbyPlatform) -> set[str]:
    return {*platform.in_standby(Role.SCHEDULER), *platform.in_standby(Role.WORKER)}


async def _kept(platform: StandbyPlatform, eventually: Eventually) -> tuple[list[str], list[str]]:
    """Waits until so many are in standby as are wanted; returns the schedulers and the workers."""
    wanted = {Role.SCHEDULER: SCHEDULERS, Role.WORKER: WORKERS}
    await eventually(lambda: all(len(platform.in_standby(role)) == number for role, number in wanted.items()))
    return list(platform.in_standby(Role.SCHEDULER)), list(platform.in_standby(Role.WORKER))


async def _wait(
    platform: StandbyPlatform, backend: StandbyBackend, launch: str, eventually: Eventually
) -> asyncio.Task[Assignment]:
    """Plays a process in standby that waits on a stream of a controller; all know it when this returns."""
    task = asyncio.create_task(backend.stand_by(launch))
    await eventually(lambda: platform.is_ready(launch))
    assert not task.done()
    return task
