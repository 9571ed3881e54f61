"""What a backend says of a platform that lets processes wait, refuses them for good, and ends them by itself.

A test module subclasses `PlatformContract`, and makes its platform do these things.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from tests.backends.processes import new_cluster, promised, spec, until_exited, until_running

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, ProcessState, ProcessStatus

CANNOT_START = {ExitCause.IMAGE_UNAVAILABLE, ExitCause.REFUSED, ExitCause.QUOTA_EXCEEDED}
ENDED_BY_OTHERS = {ExitCause.EVICTED, ExitCause.PREEMPTED, ExitCause.NODE_LOST, ExitCause.DELETED}


class Platform(Protocol):
    """What tests make the platform do."""

    def waiting(self, spec: ProcessSpec) -> ProcessSpec:
        """A process like this one for which there is no room yet."""
        ...

    async def make_room(self, cluster: str, process: str) -> None:
        """Lets it run."""
        ...

    def impossible(self, spec: ProcessSpec) -> ProcessSpec:
        """A process like this one that the platform never takes."""
        ...

    async def announce_end(self, cluster: str, process: str) -> None:
        """Begins to end a process that runs, and gives it time."""
        ...

    async def end(self, cluster: str, process: str) -> None:
        """Ends what was announced."""
        ...


class PlatformContract:
    """Tests for backends whose platform decides by itself."""

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def opened(self) -> Backend:
        """A backend of that platform, not opened yet."""
        raise NotImplementedError

    @pytest.fixture
    async def backend(self, opened: Backend) -> AsyncIterator[Backend]:
        await opened.open()
        yield opened
        for cluster in {s.key.cluster for s in await opened.observe()}:
            await opened.stop(cluster)
        await opened.close()

    @pytest.fixture
    def cluster(self) -> str:
        return new_cluster()

    async def test_what_waits_says_why_until_it_runs(self, backend: Backend, platform: Platform, cluster: str) -> None:
        await backend.start([platform.waiting(spec(cluster, SCHEDULER))])
        waiting = await _until(backend, cluster, SCHEDULER, lambda seen: seen.wait is not None)
        assert waiting.state is ProcessState.PENDING
        assert waiting.wait in set(WaitReason)
        assert waiting.message
        assert waiting.started == 0
        await platform.make_room(cluster, SCHEDULER)
        running = await until_running(backend, cluster)
        assert (running.wait, running.leaving) == (None, None)
        assert running.started > 0

    async def test_what_waits_can_be_stopped(self, backend: Backend, platform: Platform, cluster: str) -> None:
        await backend.start([platform.waiting(spec(cluster, SCHEDULER))])
        await _until(backend, cluster, SCHEDULER, lambda seen: seen.wait is not None)
        await backend.stop(cluster)
        seen = await until_exited(backend, cluster)
        assert (seen.exit_cause, seen.wait) == (ExitCause.STOPPED, None)

    async def test_what_can_never_start_has_a_cause_and_the_platforms_words(
        self, backend: Backend, platform: Platform, cluster: str
    ) -> None:
        impossible = platform.impossible(spec(cluster, "w-1"))
        try:
            await backend.start([impossible])
        except BackendError as error:
            cause, message = error.cause, str(error)
        else:
            seen = await until_exited(backend, cluster, "w-1")
            cause, message = seen.exit_cause, seen.message
        assert cause in CANNOT_START
        assert message
        await backend.start([spec(cluster, "w-2")])  # another one is not hindered
        await until_running(backend, cluster, "w-2")

    async def test_what_others_end_is_announced_and_has_ended_for_that(
        self, backend: Backend, platform: Platform, cluster: str
    ) -> None:
        await backend.start([spec(cluster, "w-1")])
        await until_running(backend, cluster, "w-1")
        changes = backend.changes()
        await platform.announce_end(cluster, "w-1")
        async with promised(backend.capabilities.notice_seconds):
            while (change := await anext(changes)).leaving is None:
                assert change.key == ProcessKey(cluster, "w-1")
        assert change.state is ProcessState.RUNNING
        assert change.leaving in ENDED_BY_OTHERS
        await platform.end(cluster, "w-1")
        seen = await until_exited(backend, cluster, "w-1")
        assert (seen.exit_cause, seen.leaving) == (change.leaving, None)


async def _until(backend: Backend, cluster: str, process: str, holds: _Holds) -> ProcessStatus:
    async with promised(backend.capabilities.notice_seconds):
        while True:
            for seen in await backend.observe(cluster):
                if seen.key.process == process and holds(seen):
                    return seen
            await asyncio.sleep(0.01)


class _Holds(Protocol):
    def __call__(self, seen: ProcessStatus, /) -> bool: ...
