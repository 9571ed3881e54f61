"""Which processes backends keep in standby, and which replica says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest
from tests.conftest import Eventually

from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessKey, ProcessSpec, Role
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import build_profiles
from headrace_controller.reconciling.launch_specs import LaunchSpecs
from headrace_controller.reconciling.standby_keeping import StandbyKeeping

POLICY = PolicyFile.read("{profiles: {small: {}, large: {options: {worker_cores: {default: 4}}}}}")


class Backend:
    """Remembers what it is told to keep; may be away."""

    def __init__(self) -> None:
        self.told: list[Sequence[ProcessSpec] | None] = []
        self.away = False

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None:
        if self.away:
            self.away = False
            raise BackendError("the API server is away")
        self.told.append(patterns)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def keeping(backend: Backend) -> AsyncIterator[StandbyKeeping]:
    profiles = build_profiles(POLICY, {"pods": []})
    specs = LaunchSpecs(profiles, {"pods": []}, AgentTokens([bytes(32)], "test"), token_seconds=60)
    keeping = StandbyKeeping(backend, profiles, specs)
    task = asyncio.create_task(keeping.run())
    yield keeping
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_holder_of_the_first_shard_has_a_scheduler_and_a_worker_of_each_profile_kept(
    keeping: StandbyKeeping, backend: Backend, eventually: Eventually
) -> None:
    keeping.gained(3)
    keeping.gained(0)
    await eventually(lambda: backend.told)
    patterns = cast("Sequence[ProcessSpec]", backend.told[0])
    assert {(one.labels["profile"], one.role) for one in patterns} == {
        (profile, role) for profile in ("small", "large") for role in Role
    }
    assert {(one.key, one.owner, one.agent_token, one.generation) for one in patterns} == {
        (ProcessKey("", ""), "", "", 0)
    }
    [large] = [one for one in patterns if one.labels["profile"] == "large" and one.role is Role.WORKER]
    assert (large.resources.cores, large.backend) == (4, "pods")


async def test_a_replica_that_has_lost_the_lease_keeps_none(
    keeping: StandbyKeeping, backend: Backend, eventually: Eventually
) -> None:
    keeping.gained(0)
    await eventually(lambda: len(backend.told) == 1)
    keeping.lost(0)
    await eventually(lambda: backend.told[1:] == [None])


async def test_a_backend_that_is_away_is_told_again_and_each_policy_is_told(
    keeping: StandbyKeeping, backend: Backend, eventually: Eventually
) -> None:
    backend.away = True
    keeping.gained(0)
    await eventually(lambda: len(backend.told) == 1)
    keeping.follow(POLICY)
    await eventually(lambda: len(backend.told) == 2)
