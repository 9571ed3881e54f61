"""What the zygote promises besides: processes outlive controllers and the zygote itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import DEAF, WARM, is_alive, opened
from tests.backends.processes import (
    spec,
    status,
    until_exited,
    until_running,
    until_written,
)
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths, protocol
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.zygote_process import launch, shut_down
from headrace_chassis import procfs
from headrace_controller.backends.process import SCHEDULER, ProcessState

# --- several controllers ---


async def test_controllers_that_start_at_once_share_one_zygote(site: Site, cluster: str) -> None:
    backends = [site.backend() for _ in range(3)]
    await asyncio.gather(*(b.open() for b in backends))
    assert site.zygote
    changes = [b.changes() for b in backends]
    await backends[0].start([spec(cluster, SCHEDULER)])
    for stream in changes:
        assert (await asyncio.wait_for(anext(stream), 60)).key.cluster == cluster
    await until_running(backends[2], cluster)
    await backends[1].stop(cluster)
    await asyncio.gather(*(until_exited(b, cluster) for b in backends))
    await backends[2].forget(cluster)
    await asyncio.gather(*(b.close() for b in backends))


async def test_deployments_on_one_machine_leave_one_another_alone(make_site: Callable[[], Site]) -> None:
    mine, theirs = make_site(), make_site()
    async with opened(mine.backend()) as my_backend, opened(theirs.backend()) as their_backend:
        await my_backend.start([spec("c1", SCHEDULER), spec("c1", "w-1", WARM)])
        await their_backend.start([spec("c1", SCHEDULER)])
        for backend, process in ((my_backend, SCHEDULER), (my_backend, "w-1"), (their_backend, SCHEDULER)):
            await until_written(backend, "c1", "up", process)  # what was just forked has no tag yet
            await until_running(backend, "c1", process)
        os.kill(mine.zygote, signal.SIGKILL)
        os.kill(theirs.zygote, signal.SIGKILL)
        await their_backend.stop("c1")
        assert [s.key.cluster for s in await their_backend.observe()] == ["c1"]
        assert (await status(my_backend, "c1")).state is ProcessState.RUNNING
        await my_backend.stop("c1")


async def test_launching_what_runs_already_changes_nothing(backend: LocalBackend, site: Site) -> None:
    before = site.zygote
    await asyncio.to_thread(launch, site.deployment, site.directory, "fake_agent")
    assert site.zygote == before


async def test_stopping_processes_as_they_are_forked_does_not_harm_the_zygote(
    backend: LocalBackend, site: Site, cluster: str
) -> None:
    pid = site.zygote
    for i in range(30):
        await backend.start([spec(cluster, f"w-{i}", WARM), spec(cluster, f"x-{i}", WARM)])
        await backend.stop(cluster, [f"w-{i}"])
    await backend.stop(cluster)
    assert site.zygote == pid
    assert {s.exit_cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}


# --- the zygote dies ---


@pytest.mark.parametrize("command", [("sh", "-c", "echo up; exec sleep 1000"), WARM], ids=["spawned", "forked"])
async def test_processes_outlive_the_zygote_and_are_found_again(
    backend: LocalBackend, site: Site, cluster: str, command: tuple[str, ...], eventually: Eventually
) -> None:
    asked = time.time()
    await backend.start([spec(cluster, SCHEDULER, command), spec(cluster, "w-1", command)])
    await until_written(backend, cluster, "up")
    await until_written(backend, cluster, "up", "w-1")
    before = [await until_running(backend, cluster), await until_running(backend, cluster, "w-1")]
    pid = site.zygote
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: site.zygotes() not in ([], [pid]))
    await backend.start([spec(cluster, SCHEDULER, command)])  # changes nothing, on the new zygote
    after = sorted(await backend.observe(cluster), key=lambda s: s.key)
    for old, new in zip(before, after, strict=True):
        assert (new.key, new.generation, new.state) == (old.key, old.generation, ProcessState.RUNNING)
        assert asked - 1 < new.started < old.started + 1  # the kernel's, which counts from the start in clock ticks

    worker = site.process_of(cluster, "w-1")
    os.kill(worker, signal.SIGKILL)
    seen = await until_exited(backend, cluster, "w-1")
    assert (seen.exit_code, seen.exit_cause) == (None, ExitCause.EXITED)
    assert "unknown" in seen.message


async def test_a_backend_opened_after_the_zygote_died_finds_what_runs(site: Site, cluster: str) -> None:
    async with opened(site.backend()) as before:
        await before.start([spec(cluster, SCHEDULER)])
        await until_written(before, cluster, "up")
        os.kill(site.zygote, signal.SIGKILL)
    async with opened(site.backend()) as after:
        assert (await status(after, cluster)).state is ProcessState.RUNNING


async def test_what_was_adopted_is_stopped_with_all_that_it_has_started(
    backend: LocalBackend, site: Site, cluster: str
) -> None:
    both = ("sh", "-c", 'sh -c "$0" & exec sh -c "$0"', DEAF[2])
    await backend.start(
        [spec(cluster, SCHEDULER, both), spec(cluster, "w-1", WARM, environment={"ASKED_FOR": "deafness"})]
    )
    await until_written(backend, cluster, "up\nup")
    await until_written(backend, cluster, "up", "w-1")
    pid = site.zygote
    os.kill(pid, signal.SIGKILL)
    await backend.stop(cluster)
    assert {s.exit_cause for s in await backend.observe(cluster)} == {ExitCause.STOPPED}
    assert site.processes_of(cluster) == []


async def test_what_is_left_of_a_process_that_ended_without_a_zygote_is_killed(
    site: Site, cluster: str, eventually: Eventually
) -> None:
    async with opened(site.backend()) as backend:
        await backend.start([spec(cluster, SCHEDULER, ("sh", "-c", 'sh -c "$0" & exec sh -c "$0"', DEAF[2]))])
        await until_written(backend, cluster, "up\nup")
    mine = site.titled(b"sh")  # not what they start and that soon ends
    leader = next(p.pid for p in procfs.processes() if p.pid in mine and p.group == p.pid)
    os.kill(site.zygote, signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
    await eventually(lambda: not is_alive(leader))
    async with opened(site.backend()) as backend:
        assert await backend.observe(cluster) == []
        await eventually(lambda: not any(map(is_alive, mine)))


async def test_standbys_end_with_the_zygote(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=2)):
        await eventually(lambda: len(site.standbys()) == 2)
        waiting = site.standbys()
    os.kill(site.zygote, signal.SIGKILL)
    await eventually(lambda: not any(map(is_alive, waiting)))


async def test_a_process_that_ended_while_there_was_no_zygote_is_reported(
    backend: LocalBackend, site: Site, cluster: str
) -> None:
    await backend.start([spec(cluster, SCHEDULER)])
    await until_written(backend, cluster, "up")
    pid = site.process_of(cluster)
    zygote = site.zygote
    os.kill(zygote, signal.SIGSTOP)  # it cannot see the end
    os.kill(pid, signal.SIGKILL)
    os.kill(zygote, signal.SIGKILL)
    seen = await until_exited(backend, cluster)
    assert (seen.exit_code, seen.exit_cause) == (None, ExitCause.EXITED)


# --- the end of the zygote ---


async def test_shutting_down_ends_everything(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=2)) as backend:
        for i in range(3):
            await backend.start([spec(f"c{i}", SCHEDULER, DEAF), spec(f"c{i}", "w-1", WARM)])
            await until_written(backend, f"c{i}", "up")
    await asyncio.to_thread(shut_down, site.directory)
    await eventually(lambda: site.processes() == [])
    await asyncio.to_thread(shut_down, site.directory)  # again: nothing to do


async def test_a_zygote_of_another_version_makes_room_and_its_processes_live_on(site: Site, cluster: str) -> None:
    async with opened(site.backend()) as backend:
        await backend.start([spec(cluster, SCHEDULER)])
        await until_written(backend, cluster, "up")
    os.kill(site.zygote, signal.SIGKILL)
    path = paths.zygote(site.directory) / paths.SOCKET
    asked: list[protocol.Request] = []

    async def old_zygote(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(protocol.decode_request(await reader.readline()))
        writer.write(protocol.encode(protocol.Welcome("0/0.0.1", 1, [])))
        asked.append(protocol.decode_request(await reader.readline()))
        old.close()
        path.unlink()
        writer.close()

    path.unlink()
    with paths.short(path) as address:
        old = await asyncio.start_unix_server(old_zygote, address)
    async with opened(site.backend()) as backend:
        assert asked == [protocol.Hello(0, 5), protocol.Shutdown(stop=False)]
        assert (await status(backend, cluster)).state is ProcessState.RUNNING
