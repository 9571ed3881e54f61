"""A fake backend that keeps processes in standby, which the machine has as records without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace.errors import TokenInvalid
from headrace_chassis.environment import needs_fresh_interpreter
from headrace_controller.backends.base import Assignment
from headrace_controller.backends.process import ProcessSpec, Role

Kind = tuple[Role, str, str]


@dataclass
class _Standby:
    kind: Kind
    ready: bool = False
    streams: int = 0
    """Number of callers that wait for what it becomes."""
    given: asyncio.Future[Assignment] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class StandbyMachine(FakeMachine):
    """A machine on which processes of nobody wait, as many of a profile as an administrator wants."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Mapping[Role, int] = {}
        self.profile = ""
        """What processes of any profile are; another text is another profile."""
        self.standbys: dict[str, _Standby] = {}
        self._given: dict[str, _Standby] = {}
        self._kept: set[Kind] = set()

    def in_standby(self, role: Role) -> list[str]:
        return [launch for launch, each in self.standbys.items() if each.kind[0] is role]

    def keep(self, patterns: Sequence[ProcessSpec]) -> None:
        self._kept = {self.kind(pattern) for pattern in patterns}
        self._fill()

    def end_standby(self, launch: str) -> None:
        del self.standbys[launch]
        self._fill()

    async def stand_by(self, launch: str) -> Assignment:
        standby = self.standbys.get(launch) or self._given.get(launch)
        if standby is None:
            raise TokenInvalid("no process in standby has this launch")
        standby.ready = True
        standby.streams += 1
        try:
            return await asyncio.shield(standby.given)
        finally:
            standby.streams -= 1

    def give(self, spec: ProcessSpec) -> None:
        """Gives a process in standby to a cluster, if one is ready that is what would be launched."""
        if self.runs(spec.key.cluster, spec.key.process) or needs_fresh_interpreter(spec.environment.keys()):
            return
        fits = (launch for launch, each in self.standbys.items() if each.ready and each.kind == self.kind(spec))
        if launch := next(fits, None):
            standby = self._given[launch] = self.standbys.pop(launch)
            standby.given.set_result(Assignment(key=spec.key, role=spec.role, generation=spec.generation))
            self._fill()

    def kind(self, spec: ProcessSpec) -> Kind:
        return spec.role, spec.labels.get("profile", ""), f"{self.profile}{dict(spec.settings)}"

    def _fill(self) -> None:
        self.standbys = {launch: each for launch, each in self.standbys.items() if each.kind in self._kept}
        for kind in self._kept:
            there = sum(each.kind == kind for each in self.standbys.values())
            for _ in range(self.wanted.get(kind[0], 0) - there):
                self.standbys[token_hex(8)] = _Standby(kind)


class FakeStandbyBackend(FakeBackend):
    """One controller's view of a machine with processes in standby."""

    def __init__(self, machine: StandbyMachine) -> None:
        super().__init__(machine)
        self._standbys = machine

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        for spec in specs:
            self._standbys.give(spec)
        await super().start(specs)

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None:
        self._standbys.check()
        if patterns is not None:
            self._standbys.keep(patterns)

    async def stand_by(self, launch: str) -> Assignment:
        self._standbys.check()
        return await self._standbys.stand_by(launch)
