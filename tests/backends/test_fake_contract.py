"""The fake backends of the controller's tests do what every backend must."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.backends.contract import BackendContract, MakeBackend
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.backends.fake_standby import FakeStandbyBackend, StandbyMachine
from tests.backends.platform_contract import PlatformContract
from tests.backends.standby_contract import SCHEDULERS, WORKERS, StandbyContract

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.base import Backend
from headrace_controller.backends.process import ProcessSpec, Role


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        machine = FakeMachine()
        return lambda: FakeBackend(machine)


class FakePlatform:
    """The machine, as a platform that decides by itself."""

    def __init__(self) -> None:
        self.machine = FakeMachine()
        self.machine.waits = lambda spec: WaitReason.UNSCHEDULABLE if "waits" in spec.labels else None
        self.machine.never_takes = lambda spec: ExitCause.REFUSED if "impossible" in spec.labels else None

    def waiting(self, spec: ProcessSpec) -> ProcessSpec:
        return replace(spec, labels={"waits": ""})

    def impossible(self, spec: ProcessSpec) -> ProcessSpec:
        return replace(spec, labels={"impossible": ""})

    async def make_room(self, cluster: str, process: str) -> None:
        self.machine.let_run(cluster, process)

    async def announce_end(self, cluster: str, process: str) -> None:
        self.machine.announce_end(cluster, process, ExitCause.EVICTED)

    async def end(self, cluster: str, process: str) -> None:
        self.machine.exit(cluster, process, 143, ExitCause.EVICTED)


class TestFakePlatform(PlatformContract):
    @pytest.fixture
    def platform(self) -> FakePlatform:
        return FakePlatform()

    @pytest.fixture
    def opened(self, platform: FakePlatform) -> Backend:
        return FakeBackend(platform.machine)


class FakeStandbyPlatform:
    """The machine, with two controllers."""

    def __init__(self) -> None:
        self.machine = StandbyMachine()
        self.machine.wanted = {Role.SCHEDULER: SCHEDULERS, Role.WORKER: WORKERS}
        self.keeper = FakeStandbyBackend(self.machine)
        self.other = FakeStandbyBackend(self.machine)

    def in_standby(self, role: Role) -> list[str]:
        return self.machine.in_standby(role)

    def is_ready(self, launch: str) -> bool:
        return self.machine.standbys[launch].ready

    async def end(self, launch: str) -> None:
        self.machine.end_standby(launch)

    async def change_profile(self) -> None:
        self.machine.profile += "changed"


class TestFakeStandby(StandbyContract):
    @pytest.fixture
    async def platform(self) -> FakeStandbyPlatform:
        platform = FakeStandbyPlatform()
        await asyncio.gather(platform.keeper.open(), platform.other.open())
        return platform
