"""What every backend must do. A backend's test module subclasses `BackendContract` and provides `make_backend`."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import cast

import pytest

from headrace_controller.backends.base import (
    SCHEDULER,
    Backend,
    ExitCause,
    LogPiece,
    Manifests,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)

MakeBackend = Callable[[], Backend]

FOR_EVER = ("sh", "-c", "echo up; exec sleep 1000")
DEAF = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")


def new_cluster() -> str:
    return "c" + secrets.token_hex(10)[:19]


def spec(cluster: str, process: str, command: Sequence[str] = FOR_EVER, **more: object) -> ProcessSpec:
    options = {"start_command": list(command), **cast("dict[str, object]", more.pop("options", {}))}
    fields: dict[str, object] = {
        "generation": 3,
        "owner": "users/ann",
        "agent_token": "token",
        "agent_endpoint": "unix:/nowhere",
        **more,
    }
    role = Role.SCHEDULER if process == SCHEDULER else Role.WORKER
    return ProcessSpec(key=ProcessKey(cluster, process), role=role, options=options, **fields)  # pyright: ignore[reportArgumentType]


async def status(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    [found] = [s for s in await backend.observe(cluster) if s.key.process == process]
    return found


async def text(backend: Backend, cluster: str, process: str | None = None, *, tail_lines: int | None = None) -> str:
    pieces = [piece async for piece in backend.logs(cluster, process, tail_lines=tail_lines)]
    return b"".join(piece.lines for piece in pieces).decode()


async def until_exited(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.EXITED)


async def until_running(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.RUNNING)


async def until_says(backend: Backend, cluster: str, said: str, process: str = SCHEDULER) -> None:
    """Waits until a process has written something."""
    async with asyncio.timeout(10), aclosing(_logs(backend, cluster, process)) as pieces:
        heard = b""
        async for piece in pieces:
            heard += piece.lines
            if said.encode() in heard:
                return


def _logs(backend: Backend, cluster: str, process: str | None = None) -> AsyncGenerator[LogPiece]:
    return cast("AsyncGenerator[LogPiece]", backend.logs(cluster, process, follow=True))


async def _until(backend: Backend, cluster: str, process: str, holds: Callable[[ProcessStatus], bool]) -> ProcessStatus:
    changes = backend.changes()
    found = await status(backend, cluster, process)
    async with asyncio.timeout(10):
        while not holds(found):
            changed = await anext(changes)
            if changed.key == found.key:
                found = changed
    return found


class BackendContract:
    """Tests for any backend; processes are commands of our own, so that no controller is needed."""

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
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo first"])])
        await until_exited(backend, cluster)
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo second; exec sleep 1000"])])
        await until_running(backend, cluster)
        await until_says(backend, cluster, "second")
        assert await text(backend, cluster) == "first\nsecond\n"

    async def test_a_failing_command_tells_its_exit_code_within_a_second(self, backend: Backend, cluster: str) -> None:
        began = time.monotonic()
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo what went wrong >&2; exit 3"])])
        seen = await until_exited(backend, cluster)
        assert time.monotonic() - began < 1
        assert (seen.exit_code, seen.cause) == (3, ExitCause.EXITED)
        assert "3" in seen.message
        assert await text(backend, cluster) == "what went wrong\n"

    async def test_a_command_that_does_not_exist_is_named_with_where_it_was_sought(
        self, backend: Backend, cluster: str
    ) -> None:
        missing = spec(cluster, SCHEDULER, ["no-such-command"], environment={"PATH": "/nowhere:/bin"})
        await backend.start([missing, spec(cluster, "other")])
        seen = await until_exited(backend, cluster)
        assert seen.cause is ExitCause.START_FAILED
        assert "no-such-command" in seen.message
        assert "/nowhere:/bin" in seen.message
        assert "no-such-command" in await text(backend, cluster)
        await until_running(backend, cluster, "other")

    async def test_a_killed_process_tells_the_signal(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "kill -9 $$"])])
        seen = await until_exited(backend, cluster)
        assert (seen.exit_code, seen.cause) == (-9, ExitCause.EXITED)
        assert "signal 9" in seen.message

    async def test_the_process_gets_identity_and_environment(self, backend: Backend, cluster: str) -> None:
        command = [sys.executable, "-c", "import os; print({k: v for k, v in os.environ.items() if k[0] in 'HC'})"]
        await backend.start(
            [
                spec(
                    cluster,
                    "w-1",
                    command,
                    environment={"COLOUR": "blue", "CITY": "Bonn"},
                    options={"environment": {"CITY": "Köln"}},
                )
            ]
        )
        await until_exited(backend, cluster, "w-1")
        seen = await text(backend, cluster, "w-1")
        for name, value in {
            "HEADRACE_CLUSTER": cluster,
            "HEADRACE_PROCESS": "w-1",
            "HEADRACE_ROLE": "worker",
            "HEADRACE_GENERATION": "3",
            "HEADRACE_AGENT_ENDPOINT": "unix:/nowhere",
            "HEADRACE_AGENT_TOKEN": "token",
            "COLOUR": "blue",
            "CITY": "Bonn",
        }.items():
            assert f"'{name}': '{value}'" in seen

    async def test_stopping_asks_first(self, backend: Backend, cluster: str) -> None:
        command = ["sh", "-c", "trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.02; done"]
        await backend.start([spec(cluster, SCHEDULER, command)])
        await until_says(backend, cluster, "up")
        await backend.stop(cluster)
        seen = await status(backend, cluster)
        assert (seen.state, seen.cause) == (ProcessState.EXITED, ExitCause.STOPPED)
        assert "goodbye" in await text(backend, cluster)

    async def test_stopping_kills_within_a_second_what_ignores_the_asking(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, DEAF)])
        await until_says(backend, cluster, "up")
        began = time.monotonic()
        await backend.stop(cluster)
        assert time.monotonic() - began < 1.0
        seen = await status(backend, cluster)
        assert (seen.state, seen.exit_code, seen.cause) == (ProcessState.EXITED, -9, ExitCause.STOPPED)

    @pytest.mark.parametrize("prefix", ["", "setsid "], ids=["in its group", "in a session of its own"])
    async def test_stopping_kills_what_the_process_has_started(
        self, backend: Backend, cluster: str, prefix: str
    ) -> None:
        beat = "trap '' TERM; echo up; while :; do echo beat; sleep 0.01; done"
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", f'{prefix}sh -c "$0" & wait', beat])])
        await until_says(backend, cluster, "beat")
        await backend.stop(cluster)
        after = await text(backend, cluster)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await until_says(backend, cluster, after + "beat")

    async def test_what_a_process_leaves_behind_is_killed_when_it_ends_by_itself(
        self, backend: Backend, cluster: str
    ) -> None:
        beat = "while :; do echo beat; sleep 0.01; done"
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", 'sh -c "$0" & sleep 0.1', beat])])
        await until_exited(backend, cluster)

        async def silent() -> bool:
            before = await text(backend, cluster)
            await asyncio.sleep(0.1)
            return await text(backend, cluster) == before

        async with asyncio.timeout(3):
            while not await silent():
                continue

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
        await before.start([spec(cluster, SCHEDULER), spec(cluster, "w-1", ["sh", "-c", "exit 7"])])
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

    async def test_changes_end_when_the_backend_is_closed(self, make_backend: MakeBackend) -> None:
        backend = make_backend()
        await backend.open()
        changes = backend.changes()
        waiting = asyncio.ensure_future(_collect(changes))
        await backend.close()
        assert await asyncio.wait_for(waiting, 1) == []

    async def test_logs_can_be_read_from_the_end(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done"])])
        await until_exited(backend, cluster)
        assert await text(backend, cluster, tail_lines=2) == "line 4\nline 5\n"
        assert await text(backend, cluster, tail_lines=0) == ""
        assert await text(backend, cluster, tail_lines=100) == await text(backend, cluster)
        assert len((await text(backend, cluster)).splitlines()) == 5

    async def test_logs_come_in_pieces_of_whole_lines(self, backend: Backend, cluster: str) -> None:
        script = "import sys\nfor i in range(20000): print(i, 'x' * (i % 50))\nsys.stdout.write('no end')"
        await backend.start([spec(cluster, SCHEDULER, [sys.executable, "-c", script])])
        await until_exited(backend, cluster)
        pieces = [piece async for piece in backend.logs(cluster)]
        assert all(len(piece.lines) <= 64 * 1024 for piece in pieces)
        assert all(piece.lines.endswith(b"\n") for piece in pieces[:-1])
        lines = b"".join(piece.lines for piece in pieces).split(b"\n")
        assert lines == [b"%d %s" % (i, b"x" * (i % 50)) for i in range(20000)] + [b"no end"]

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
        await backend.start([spec(cluster, "w-1", ["sh", "-c", "echo working; printf last"])])
        await until_heard("w-1", b"working\n")
        await until_heard("w-1", b"last")
        assert not following.done()
        following.cancel()

    async def test_logs_of_what_is_unknown_are_empty(self, backend: Backend, cluster: str) -> None:
        assert await text(backend, cluster) == ""
        assert await text(backend, cluster, "nobody", tail_lines=3) == ""

    async def test_forgetting_removes_what_is_kept(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo bye"], manifest=b"sealed")])
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
        await before.start([spec(ended, SCHEDULER, ["true"], manifest=b"other")])
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
