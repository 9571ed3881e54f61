"""What every backend must do, also one without processes. A test module subclasses `BackendContract`.

Backends that start real processes pass `process_contract.py`, which is this and more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from tests.backends.local.processes import (
    new_cluster,
    spec,
    status,
    text,
    until_exited,
    until_running,
    until_says,
)
from tests.backends.local.programs import DEAF, NO_SUCH_COMMAND, Program

from headrace_controller.backends.base import (
    SCHEDULER,
    Backend,
    ExitCause,
    Manifests,
    ProcessKey,
    ProcessState,
    ProcessStatus,
    Role,
)

MakeBackend = Callable[[], Backend]


class BackendContract:
    """Tests for any backend; what runs are programs of our own, so that no controller is needed."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """Returns what makes a backend, each time on the same place, as a controller does that starts again."""
        raise NotImplementedError

    @pytest.fixture
    async def backend(self, make_backend: MakeBackend) -> AsyncIterator[Backend]:
        backend = make_backend()
        await backend.open()
        yield backend
        for cluster in {s.key.cluster for s in await backend.observe()}:
            await backend.stop(cluster)
        await backend.close()

    @pytest.fixture
    def cluster(self) -> str:
        return new_cluster()

    async def test_a_started_process_is_observed_running(self, backend: Backend, cluster: str) -> None:
        before = time.time()
        await backend.start([spec(cluster, SCHEDULER), spec(cluster, "default-0-abcdef")])
        seen = await until_running(backend, cluster)
        worker = await until_running(backend, cluster, "default-0-abcdef")
        assert (seen.role, worker.role) == (Role.SCHEDULER, Role.WORKER)
        assert (seen.generation, seen.exit_code, seen.cause) == (3, None, ExitCause.NONE)
        assert before - 1 < seen.started < time.time() + 1
        assert await backend.observe("c-unknown") == []
        assert {s.key for s in await backend.observe()} >= {seen.key, worker.key}

    async def test_starting_again_what_runs_changes_nothing(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER)])
        first = await until_running(backend, cluster)
        await until_says(backend, cluster, "up")
        await asyncio.gather(*(backend.start([spec(cluster, SCHEDULER)]) for _ in range(5)))
        assert await status(backend, cluster) == first
        assert await text(backend, cluster) == "up\n"

    async def test_what_has_exited_can_be_started_again(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(says="first\n", code=0))])
        await until_exited(backend, cluster)
        await backend.start([spec(cluster, SCHEDULER, Program(says="second\n"))])
        await until_running(backend, cluster)
        await until_says(backend, cluster, "second")
        assert await text(backend, cluster) == "first\nsecond\n"

    async def test_a_failing_command_tells_its_exit_code_within_a_second(self, backend: Backend, cluster: str) -> None:
        began = time.monotonic()
        await backend.start([spec(cluster, SCHEDULER, Program(says="what went wrong\n", code=3))])
        seen = await until_exited(backend, cluster)
        assert time.monotonic() - began < 1
        assert (seen.exit_code, seen.cause) == (3, ExitCause.EXITED)
        assert "3" in seen.message
        assert await text(backend, cluster) == "what went wrong\n"

    async def test_one_that_cannot_start_has_exited_says_why_and_hinders_no_other(
        self, backend: Backend, cluster: str
    ) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(missing=True)), spec(cluster, "other")])
        seen = await until_exited(backend, cluster)
        assert seen.cause is ExitCause.START_FAILED
        assert NO_SUCH_COMMAND in seen.message
        assert NO_SUCH_COMMAND in await text(backend, cluster)
        await until_running(backend, cluster, "other")

    async def test_a_killed_process_tells_the_signal(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(code=-9))])
        seen = await until_exited(backend, cluster)
        assert (seen.exit_code, seen.cause) == (-9, ExitCause.EXITED)
        assert "signal 9" in seen.message

    async def test_stopping_asks_first(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(goodbye="goodbye\n"))])
        await until_says(backend, cluster, "up")
        await backend.stop(cluster)
        seen = await status(backend, cluster)
        assert (seen.state, seen.cause) == (ProcessState.EXITED, ExitCause.STOPPED)
        assert "goodbye\n" in await text(backend, cluster)

    async def test_stopping_kills_within_a_second_what_ignores_the_asking(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, DEAF)])
        await until_says(backend, cluster, "up")
        began = time.monotonic()
        await backend.stop(cluster)
        assert time.monotonic() - began < 1.0
        seen = await status(backend, cluster)
        assert (seen.state, seen.exit_code, seen.cause) == (ProcessState.EXITED, -9, ExitCause.STOPPED)

    async def test_one_of_several_processes_can_be_stopped(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1"), spec(cluster, "w-2")])
        await backend.stop(cluster, ["w-1"])
        states = {s.key.process: s.state for s in await backend.observe(cluster)}
        assert states.pop("w-1") is ProcessState.EXITED
        assert ProcessState.EXITED not in states.values()

    async def test_stopping_is_safe_to_repeat_and_for_what_is_unknown(self, backend: Backend, cluster: str) -> None:
        await backend.stop(cluster)
        await backend.start([spec(cluster, SCHEDULER)])
        await asyncio.gather(*(backend.stop(cluster) for _ in range(4)))
        await backend.stop(cluster, ["never-was"])
        assert (await status(backend, cluster)).cause is ExitCause.STOPPED

    async def test_a_backend_opened_anew_knows_what_runs_and_what_has_exited(
        self, make_backend: MakeBackend, cluster: str
    ) -> None:
        before = make_backend()
        await before.open()
        await before.start([spec(cluster, SCHEDULER), spec(cluster, "w-1", Program(code=7))])
        running = await until_running(before, cluster)
        exited = await until_exited(before, cluster, "w-1")
        await before.close()

        after = make_backend()
        await after.open()
        assert sorted(await after.observe(cluster), key=lambda s: s.key) == sorted(
            [running, exited], key=lambda s: s.key
        )
        await after.stop(cluster)
        assert (await status(after, cluster)).cause is ExitCause.STOPPED
        await after.close()

    async def test_what_one_controller_does_all_see(self, make_backend: MakeBackend, cluster: str) -> None:
        one, other = make_backend(), make_backend()
        await asyncio.gather(one.open(), other.open())
        changes = other.changes()
        await one.start([spec(cluster, SCHEDULER)])
        assert (await asyncio.wait_for(anext(changes), 5)).key == ProcessKey(cluster, SCHEDULER)
        assert await until_running(other, cluster) == await until_running(one, cluster)
        await other.start([spec(cluster, SCHEDULER)])
        await other.stop(cluster)
        assert (await until_exited(one, cluster)).cause is ExitCause.STOPPED
        assert await text(one, cluster) == await text(other, cluster) == "up\n"
        await one.forget(cluster)
        assert await other.observe(cluster) == []
        await asyncio.gather(one.close(), other.close())

    async def test_changes_are_streamed_from_the_call_on(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, "early")])
        await until_running(backend, cluster, "early")
        first, second = backend.changes(), backend.changes()
        await backend.start([spec(cluster, SCHEDULER)])
        await until_running(backend, cluster)
        await backend.stop(cluster, [SCHEDULER])
        for stream in (first, second):
            states: list[ProcessState] = []
            async with asyncio.timeout(5):
                while not states or states[-1] is not ProcessState.EXITED:
                    change = await anext(stream)
                    assert change.key == ProcessKey(cluster, SCHEDULER)
                    states.append(change.state)
            assert [s for s in states if s is not ProcessState.PENDING] == [ProcessState.RUNNING, ProcessState.EXITED]

    async def test_a_start_is_told_before_it_returns(self, backend: Backend, cluster: str) -> None:
        # Who goes by the changes would start the same again otherwise.
        following = asyncio.ensure_future(anext(backend.changes()))
        await backend.start([spec(cluster, SCHEDULER)])
        assert following.done()
        assert (await following).key == ProcessKey(cluster, SCHEDULER)

    async def test_changes_end_when_the_backend_is_closed(self, make_backend: MakeBackend) -> None:
        backend = make_backend()
        await backend.open()
        changes = backend.changes()
        waiting = asyncio.ensure_future(_collect(changes))
        await backend.close()
        assert await asyncio.wait_for(waiting, 1) == []

    async def test_logs_can_be_read_from_the_end(self, backend: Backend, cluster: str) -> None:
        lines = "".join(f"line {i}\n" for i in range(1, 6))
        await backend.start([spec(cluster, SCHEDULER, Program(says=lines, code=0))])
        await until_exited(backend, cluster)
        assert await text(backend, cluster, tail_lines=2) == "line 4\nline 5\n"
        assert await text(backend, cluster, tail_lines=0) == ""
        assert await text(backend, cluster, tail_lines=100) == await text(backend, cluster)
        assert await text(backend, cluster) == lines

    async def test_logs_come_in_pieces_of_whole_lines(self, backend: Backend, cluster: str) -> None:
        said = "".join(f"{i} {'x' * (i % 50)}\n" for i in range(20000)) + "no end"
        await backend.start([spec(cluster, SCHEDULER, Program(says=said, code=0))])
        await until_exited(backend, cluster)
        pieces = [piece async for piece in backend.logs(cluster)]
        assert all(len(piece.lines) <= 64 * 1024 for piece in pieces)
        assert all(piece.lines.endswith(b"\n") for piece in pieces[:-1])
        assert b"".join(piece.lines for piece in pieces).decode() == said

    async def test_following_shows_lines_as_they_are_written_and_processes_as_they_appear(
        self, backend: Backend, cluster: str
    ) -> None:
        heard: list[tuple[str, bytes]] = []
        arrived = asyncio.Event()

        async def follow() -> None:
            async for piece in backend.logs(cluster, follow=True):
                heard.append((piece.process, piece.lines))
                arrived.set()

        async def until_heard(process: str, line: bytes) -> None:
            async with asyncio.timeout(5):
                while not any(p == process and line in lines for p, lines in heard):
                    arrived.clear()
                    await arrived.wait()

        following = asyncio.ensure_future(follow())
        await backend.start([spec(cluster, SCHEDULER)])
        await until_heard(SCHEDULER, b"up\n")
        await backend.start([spec(cluster, "w-1", Program(says="working\nlast", code=0))])
        await until_heard("w-1", b"working\n")
        await until_heard("w-1", b"last")
        assert not following.done()
        following.cancel()

    async def test_logs_of_what_is_unknown_are_empty(self, backend: Backend, cluster: str) -> None:
        assert await text(backend, cluster) == ""
        assert await text(backend, cluster, "nobody", tail_lines=3) == ""

    async def test_forgetting_removes_what_is_kept(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(says="bye\n", code=0), manifest=b"sealed")])
        await until_exited(backend, cluster)
        await backend.forget(cluster)
        assert await backend.observe(cluster) == []
        assert await text(backend, cluster) == ""
        await backend.forget(cluster)

    async def test_manifests_of_running_schedulers_are_kept_over_a_restart(
        self, make_backend: MakeBackend, cluster: str
    ) -> None:
        before = make_backend()
        if not isinstance(before, Manifests):
            pytest.skip("this backend keeps no manifests")
        await before.open()
        ended = new_cluster()
        await before.start([spec(cluster, SCHEDULER, manifest=b"\x00sealed\xff")])
        await before.start([spec(ended, SCHEDULER, Program(code=0), manifest=b"other")])
        await until_exited(before, ended)
        await before.close()
        after = make_backend()
        await after.open()
        assert isinstance(after, Manifests)
        assert await after.manifests() == {cluster: b"\x00sealed\xff"}
        await after.stop(cluster)
        assert await after.manifests() == {}
        await after.close()

    async def test_a_manifest_is_replaced_while_the_scheduler_runs(self, backend: Backend, cluster: str) -> None:
        if not isinstance(backend, Manifests):
            pytest.skip("this backend keeps no manifests")
        await backend.update_manifest(cluster, b"of nobody")
        assert await backend.manifests() == {}
        await backend.start([spec(cluster, SCHEDULER, manifest=b"first")])
        await until_running(backend, cluster)
        await backend.update_manifest(cluster, b"second, and longer")
        assert await backend.manifests() == {cluster: b"second, and longer"}
        await backend.stop(cluster)
        await backend.update_manifest(cluster, b"third")
        assert await backend.manifests() == {}

    async def test_many_clusters_start_and_stop_at_once(self, backend: Backend) -> None:
        clusters = [new_cluster() for _ in range(20)]

        async def live(cluster: str) -> None:
            await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1")])
            await until_running(backend, cluster)
            await until_running(backend, cluster, "w-1")
            await backend.stop(cluster)
            assert {s.cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}

        async with asyncio.timeout(20):
            await asyncio.gather(*map(live, clusters))

    async def test_stopping_what_waits_for_its_turn_ends_it_too(self, backend: Backend, cluster: str) -> None:
        workers = [f"w-{i}" for i in range(30)]
        await backend.start([spec(cluster, worker) for worker in workers])
        await backend.stop(cluster)
        assert {s.state for s in await backend.observe(cluster)} == {ProcessState.EXITED}
        assert {s.cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}


async def _collect(changes: AsyncIterator[ProcessStatus]) -> list[ProcessStatus]:
    return [change async for change in changes]
