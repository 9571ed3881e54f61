"""What every backend must do, also one without processes. A test module subclasses `BackendContract`.

A backend is held to what it promises: see `Capabilities`. Backends that start real processes pass
`process_contract.py`, which is this and more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from tests.backends.processes import (
    new_cluster,
    pieces,
    promised,
    spec,
    status,
    text,
    until_exited,
    until_running,
    until_written,
)
from tests.backends.programs import DEAF, NO_SUCH_COMMAND, Program

from headrace.v1.enums import ExitCause
from headrace_controller.backends.base import AddressRefused, Backend, Manifests
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessState, ProcessStatus, Role

MakeBackend = Callable[[], Backend]


_ELSEWHERE = (
    "169.254.169.254:80",  # metadata of a cloud
    "[::ffff:169.254.169.254]:80",
    "tls://0.0.0.0:80",
    "[::]:80",
    "224.0.0.1:80",
    "192.0.2.7:80",
    "metadata.internal:80",
    "http://127.0.0.1:80",
    "127.0.0.1:0",
    "127.0.0.1",
    "",
)


class BackendContract:
    """Tests for any backend; the processes are programs of our own, so that no controller is needed."""

    many = 20
    """Number of clusters, or of processes, that start at once."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """Returns what makes a backend, each time of the same place, as a controller does that starts again."""
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
    def patient(self, backend: Backend) -> Backend:
        """A backend that kills what it stops later than others, if its time is short for a busy machine."""
        return backend

    @pytest.fixture
    def cluster(self) -> str:
        return new_cluster()

    # --- start ---

    async def test_a_started_process_is_observed_running(self, backend: Backend, cluster: str) -> None:
        before = time.time()
        await backend.start([spec(cluster, SCHEDULER), spec(cluster, "default-0-abcdef")])
        seen = await until_running(backend, cluster)
        worker = await until_running(backend, cluster, "default-0-abcdef")
        assert (seen.role, worker.role) == (Role.SCHEDULER, Role.WORKER)
        assert (seen.generation, seen.exit_code, seen.exit_cause) == (3, None, None)
        assert before - 2 < seen.started < time.time() + 2  # some backends know whole seconds only
        assert seen.host
        assert await backend.observe("c-unknown") == []
        assert {s.key for s in await backend.observe()} >= {seen.key, worker.key}

    async def test_starting_again_what_runs_changes_nothing(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER)])
        first = await until_running(backend, cluster)
        await until_written(backend, cluster, "up")
        await asyncio.gather(*(backend.start([spec(cluster, SCHEDULER)]) for _ in range(5)))
        assert await status(backend, cluster) == first
        assert await text(backend, cluster) == "up\n"

    async def test_what_has_exited_can_be_started_again(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(writes="first\n", code=0))])
        await until_exited(backend, cluster)
        await backend.start([spec(cluster, SCHEDULER, Program(writes="second\n"))])
        await until_running(backend, cluster)
        await until_written(backend, cluster, "second")

    async def test_one_that_cannot_start_has_exited_says_why_and_hinders_no_other(
        self, backend: Backend, cluster: str
    ) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(missing=True)), spec(cluster, "other")])
        seen = await until_exited(backend, cluster)
        assert seen.exit_cause is ExitCause.START_FAILED
        assert NO_SUCH_COMMAND in seen.message
        await until_running(backend, cluster, "other")

    async def test_many_clusters_start_and_stop_at_once(self, backend: Backend) -> None:
        clusters = [new_cluster() for _ in range(self.many)]

        async def live(cluster: str) -> None:
            await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1")])
            await until_running(backend, cluster)
            await until_running(backend, cluster, "w-1")
            await backend.stop(cluster)
            assert {s.exit_cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}

        await asyncio.gather(*map(live, clusters))

    # --- exits ---

    async def test_a_failing_command_tells_its_exit_code(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(writes="what went wrong\n", code=3))])
        seen = await until_exited(backend, cluster)
        assert (seen.exit_code, seen.exit_cause) == (3, ExitCause.EXITED)

    async def test_a_killed_process_tells_the_signal(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(code=-9))])
        seen = await until_exited(backend, cluster)
        assert seen.exit_cause is ExitCause.EXITED
        if backend.capabilities.reports_signals:
            assert seen.exit_code == -9
        else:
            assert seen.exit_code != 0

    async def test_exits_are_known_after_a_restart_of_the_controller(
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
        assert await status(after, cluster) == running
        if after.capabilities.keeps_exits:
            assert await status(after, cluster, "w-1") == exited
        await after.stop(cluster)
        assert (await status(after, cluster)).exit_cause is ExitCause.STOPPED
        await after.close()

    # --- stop ---

    async def test_stopping_terminates_first(self, patient: Backend, cluster: str) -> None:
        await patient.start([spec(cluster, SCHEDULER, Program(goodbye="goodbye\n"))])
        await until_running(patient, cluster)  # what is not known to is deleted, with its log
        await until_written(patient, cluster, "up")
        await patient.stop(cluster)
        seen = await status(patient, cluster)
        assert (seen.state, seen.exit_cause) == (ProcessState.EXITED, ExitCause.STOPPED)
        if patient.capabilities.keeps_logs:
            assert "goodbye\n" in await text(patient, cluster)

    async def test_stopping_kills_what_ignores_its_termination(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, DEAF)])
        await until_running(backend, cluster)
        await until_written(backend, cluster, "up")
        async with promised(backend.capabilities.stop_seconds):
            await backend.stop(cluster)
        seen = await status(backend, cluster)
        assert (seen.state, seen.exit_cause) == (ProcessState.EXITED, ExitCause.STOPPED)
        assert seen.exit_code == -9 or not backend.capabilities.reports_signals

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
        assert (await status(backend, cluster)).exit_cause is ExitCause.STOPPED

    async def test_stopping_what_waits_for_its_turn_ends_it_too(self, backend: Backend, cluster: str) -> None:
        workers = [f"w-{i}" for i in range(self.many)]
        await backend.start([spec(cluster, worker) for worker in workers])
        await backend.stop(cluster)
        assert {s.state for s in await backend.observe(cluster)} == {ProcessState.EXITED}
        assert {s.exit_cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}

    # --- changes ---

    async def test_what_one_controller_does_all_see(self, make_backend: MakeBackend, cluster: str) -> None:
        one, other = make_backend(), make_backend()
        await asyncio.gather(one.open(), other.open())
        changes = other.changes()
        await one.start([spec(cluster, SCHEDULER)])
        async with promised(other.capabilities.notice_seconds):
            assert (await anext(changes)).key == ProcessKey(cluster, SCHEDULER)
        assert await until_running(other, cluster) == await until_running(one, cluster)
        await until_written(other, cluster, "up")
        await other.start([spec(cluster, SCHEDULER)])
        await other.stop(cluster)
        assert (await until_exited(one, cluster)).exit_cause is ExitCause.STOPPED
        if one.capabilities.keeps_logs:
            assert (await text(one, cluster), await text(other, cluster)) == ("up\n", "up\n")
        await one.forget(cluster)
        async with promised(other.capabilities.notice_seconds):
            while await other.observe(cluster):  # noqa: ASYNC110 no change says that a cluster was forgotten
                await asyncio.sleep(0.01)
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
            async with promised(backend.capabilities.notice_seconds):
                while not states or states[-1] is not ProcessState.EXITED:
                    change = await anext(stream)
                    assert change.key == ProcessKey(cluster, SCHEDULER)
                    states.append(change.state)
            assert [s for s in states if s is not ProcessState.PENDING] == [ProcessState.RUNNING, ProcessState.EXITED]

    async def test_a_start_is_reported_before_it_returns(self, backend: Backend, cluster: str) -> None:
        # Those who decide by the changes would start the same again otherwise.
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
        async with promised(0):
            assert await waiting == []

    # --- logs ---

    async def test_logs_can_be_read_from_the_end(self, backend: Backend, cluster: str) -> None:
        lines = "".join(f"line {i}\n" for i in range(1, 6))
        await self._run(backend, cluster, lines)
        assert await text(backend, cluster, tail_lines=2) == "line 4\nline 5\n"
        assert await text(backend, cluster, tail_lines=0) == ""
        assert await text(backend, cluster, tail_lines=100) == await text(backend, cluster)
        assert await text(backend, cluster) == lines

    async def test_logs_come_in_pieces_of_whole_lines(self, backend: Backend, cluster: str) -> None:
        written = _many_lines() + "no end"
        await self._run(backend, cluster, written)
        read = await pieces(backend, cluster)
        assert all(len(piece.lines) <= 64 * 1024 for piece in read)
        assert all(piece.lines.endswith(b"\n") for piece in read[:-1])
        assert b"".join(piece.lines for piece in read).decode() == written

    async def test_reading_goes_on_after_any_piece(self, backend: Backend, cluster: str) -> None:
        written = _many_lines()
        await self._run(backend, cluster, written)
        read = await pieces(backend, cluster)
        assert len(read) > 2
        for n in sorted({0, 1, len(read) // 2, len(read) - 2, len(read) - 1}):  # each reads the whole log again
            piece = read[n]
            rest = b"".join(later.lines for later in read[n + 1 :]).decode()
            assert await text(backend, cluster, positions={piece.process: piece.position}) == rest
        first = {read[0].process: read[0].position}
        assert await text(backend, cluster, tail_lines=1, positions=first) == "".join(
            piece.lines.decode() for piece in read[1:]
        )

    async def test_a_position_counts_for_its_process_only(self, backend: Backend, cluster: str) -> None:
        await self._run(backend, cluster, "one\ntwo\n")
        [piece] = await pieces(backend, cluster)
        await backend.start([spec(cluster, "w-1", Program(writes="three\nfour\n"))])
        await until_written(backend, cluster, "four", "w-1")
        positions = {piece.process: piece.position, "never-was": piece.position}
        assert await text(backend, cluster, positions=positions) == "three\nfour\n"
        assert await text(backend, cluster, tail_lines=1, positions=positions) == "four\n"

    async def test_a_position_that_no_backend_gave_counts_as_none(self, backend: Backend, cluster: str) -> None:
        await self._run(backend, cluster, "one\ntwo\n")
        for position in ("", "no position", "-1", "9" * 100, "../../etc", "\0"):
            read = await text(backend, cluster, tail_lines=1, positions={SCHEDULER: position})
            assert "one\ntwo\n".endswith(read), position

    async def test_following_shows_lines_as_they_are_written_and_processes_as_they_appear(
        self, backend: Backend, cluster: str
    ) -> None:
        read: list[tuple[str, bytes]] = []
        arrived = asyncio.Event()

        async def follow() -> None:
            async for piece in backend.logs(cluster, follow=True):
                read.append((piece.process, piece.lines))
                arrived.set()

        async def until_read(process: str, line: bytes) -> None:
            async with promised(backend.capabilities.notice_seconds):
                while not any(p == process and line in lines for p, lines in read):
                    arrived.clear()
                    await arrived.wait()

        following = asyncio.ensure_future(follow())
        await backend.start([spec(cluster, SCHEDULER)])
        await until_read(SCHEDULER, b"up\n")
        await backend.start([spec(cluster, "w-1", Program(writes="working\nlast", code=0))])
        await until_read("w-1", b"working\n")
        await until_read("w-1", b"last")
        assert not following.done()
        following.cancel()

    async def test_logs_of_what_is_unknown_are_empty(self, backend: Backend, cluster: str) -> None:
        assert await text(backend, cluster) == ""
        assert await text(backend, cluster, "nobody", tail_lines=3) == ""
        assert await text(backend, cluster, "../../secret") == ""

    # --- network, forget, manifests ---

    async def test_a_process_is_told_where_its_controller_is(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER)])
        network = backend.network(cluster, SCHEDULER)
        assert network.agent_endpoint
        assert network.dns_names or network.ip_addresses

    async def test_an_address_that_a_process_listens_on_is_accepted(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(listens=True))])
        await until_running(backend, cluster)
        await until_written(backend, cluster, "\n")
        address = (await text(backend, cluster)).strip()
        await backend.check_address(cluster, SCHEDULER, address)
        await backend.check_address(cluster, SCHEDULER, f"tls://{address}")

    async def test_an_address_that_leads_elsewhere_is_refused(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER)])
        await until_running(backend, cluster)
        for address in _ELSEWHERE:
            try:
                await backend.check_address(cluster, SCHEDULER, address)
            except AddressRefused:
                continue
            pytest.fail(f"{address!r} was accepted")

    async def test_forgetting_removes_what_is_kept(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(writes="bye\n", code=0), manifest=b"sealed")])
        await until_exited(backend, cluster)
        await backend.forget(cluster)
        assert await backend.observe(cluster) == []
        assert await text(backend, cluster) == ""
        await backend.forget(cluster)

    async def test_manifests_of_running_schedulers_are_kept_over_a_restart(
        self, make_backend: MakeBackend, cluster: str
    ) -> None:
        before = make_backend()
        _with_manifests(before)
        await before.open()
        ended = new_cluster()
        await before.start([spec(cluster, SCHEDULER, manifest=b"\x00sealed\xff")])
        await before.start([spec(ended, SCHEDULER, Program(code=0), manifest=b"other")])
        await until_running(before, cluster)
        await until_exited(before, ended)
        await before.close()
        after = make_backend()
        await after.open()
        kept = _with_manifests(after)
        assert await kept.manifests() == {cluster: b"\x00sealed\xff"}
        assert await kept.manifest(cluster) == b"\x00sealed\xff"
        assert await kept.manifest(ended) is None
        await after.stop(cluster)
        assert await kept.manifests() == {}
        assert await kept.manifest(cluster) is None
        await after.close()

    async def test_a_manifest_is_replaced_while_the_scheduler_runs(self, backend: Backend, cluster: str) -> None:
        kept = _with_manifests(backend)
        await kept.update_manifest(cluster, b"of nobody")
        assert await kept.manifests() == {}
        await backend.start([spec(cluster, SCHEDULER, manifest=b"first")])
        await until_running(backend, cluster)
        await kept.update_manifest(cluster, b"second, and longer")
        assert await kept.manifests() == {cluster: b"second, and longer"}
        await backend.stop(cluster)
        await kept.update_manifest(cluster, b"third")
        assert await kept.manifests() == {}

    async def _run(self, backend: Backend, cluster: str, writes: str) -> None:
        """Runs a scheduler until it has written something: until it has exited, where its log is kept."""
        keeps_logs = backend.capabilities.keeps_logs
        await backend.start([spec(cluster, SCHEDULER, Program(writes=writes, code=0 if keeps_logs else None))])
        if keeps_logs:
            await until_exited(backend, cluster)
        else:
            await until_written(backend, cluster, writes)


def _many_lines() -> str:
    return "".join(f"{i} {'x' * (i % 50)}\n" for i in range(8000))


def _with_manifests(backend: Backend) -> Manifests:
    if not isinstance(backend, Manifests):
        pytest.skip("this backend keeps no manifests")
    return cast("Manifests", backend)


async def _collect(changes: AsyncIterator[ProcessStatus]) -> list[ProcessStatus]:
    return [change async for change in changes]
