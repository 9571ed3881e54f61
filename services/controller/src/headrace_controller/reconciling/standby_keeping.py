"""Tells backends which processes to keep in standby: those that clusters with default options would start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.backoff import delays
from headrace_chassis import logs
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessSpec
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Person, Profiles
from headrace_controller.reconciling.launch_specs import LaunchSpecs

log = logs.get_logger()

_SHARD = 0  # its holder is the one replica that keeps them
_ANYBODY = Person(user="")


class Keeps(Protocol):
    """What is needed of backends."""

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None: ...


class StandbyKeeping:
    """Follows the policy and the lease of the first shard."""

    def __init__(self, backend: Keeps, profiles: Profiles, specs: LaunchSpecs) -> None:
        self._backend = backend
        self._profiles = profiles
        self._specs = specs
        self._holds = False
        self._changed = asyncio.Event()

    def follow(self, _policy: PolicyFile) -> None:
        """Take up another policy."""
        self._changed.set()

    def gained(self, shard: int) -> None:
        """This replica has got the lease of a shard."""
        if shard == _SHARD:
            self._holds = True
            self._changed.set()

    def lost(self, shard: int) -> None:
        """This replica holds the lease of a shard no more."""
        if shard == _SHARD:
            self._holds = False
            self._changed.set()

    async def run(self) -> None:
        """Tell the backends of each change until cancelled. One that fails is told again."""
        pauses = delays(0.2, 30.0)
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._backend.keep(self._patterns() if self._holds else None)
            except BackendError as error:
                log.warning("processes cannot be kept in standby; will try again", error=str(error))
            except Exception:  # logged in full; clusters start without them
                log.exception("processes cannot be kept in standby; will try again")
            else:
                pauses = delays(0.2, 30.0)
                continue
            asyncio.get_running_loop().call_later(next(pauses), self._changed.set)

    def _patterns(self) -> list[ProcessSpec]:
        patterns: list[ProcessSpec] = []
        for profile in self._profiles:
            options, violations = profile.offered(_ANYBODY).check({}, "options")
            if not violations:  # with them, nobody can create a cluster with default options either
                patterns += self._specs.patterns(profile.key, options)
        return patterns
