"""What the zygote promises besides: warm forks, and processes that outlive controllers and the zygote itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.backends.local.conftest import Site
from tests.backends.processes import (
    new_cluster,
    spec,
    status,
    text,
    until_exited,
    until_running,
    until_written,
)
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths, protocol
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.zygote_process import launch, shut_down
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessState

WARM = ()
DEAF = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")


@pytest.fixture
def cluster() -> str:
    return new_cluster()


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[LocalBackend]:
    async with opened(site.backend()) as backend:
        yield backend


class opened:  # noqa: N801 reads as what it does
    """Opens a backend, and closes it."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend

    async def __aenter__(self) -> LocalBackend:
        await self._backend.open()
        return self._backend

    async def __aexit__(self, *_: object) -> None:
        await self._backend.close()


async def facts(backend: LocalBackend, cluster: str, process: str = SCHEDULER) -> dict[str, str]:
    """Returns what a forked process says of itself."""
    await until_written(backend, cluster, "files:", process)
    lines = (await text(backend, cluster, process)).splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


# --- warm forks ---


async def test_a_process_without_a_command_is_forked_warm(backend: LocalBackend, site: Site, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"ASKED": "yes"}), spec(cluster, "w-1", WARM)])
    said = await facts(backend, cluster)
    assert said["forked"] == "True"
    assert said["directory"] == str(paths.work(site.directory, cluster))
    assert "ASKED" in said["variables"]
    assert "HEADRACE_AGENT_TOKEN" in said["variables"]
    assert (await facts(backend, cluster, "w-1"))["pid"] != said["pid"]


async def test_forked_and_spawned_processes_see_nothing_of_the_services(backend: LocalBackend, cluster: str) -> None:
    assert "SECRET_OF_THE_SERVICES" in os.environ
    await backend.start([spec(cluster, SCHEDULER, WARM), spec(cluster, "w-1", ["env"])])
    await until_exited(backend, cluster, "w-1")
    said = await facts(backend, cluster)
    assert "SECRET" not in said["variables"]
    assert "SECRET" not in await text(backend, cluster, "w-1")


@pytest.mark.parametrize("standby", [0, 1])
async def test_a_forked_process_has_nothing_of_the_zygote_open(
    site: Site, cluster: str, standby: int, eventually: Eventually
) -> None:
    async with opened(site.backend(standby=standby)) as backend:
        await backend.start([spec(new_cluster(), "w-1", WARM)])
        await eventually(lambda: len(site.standbys()) == standby)
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        said = await facts(backend, cluster)
        log = str(paths.log_file(site.directory, (await status(backend, cluster)).key))
        files = eval(said["files"])
        assert [f for f in files if f not in {log, "/dev/null"} and not f.startswith("/proc/")] == []


async def test_the_exit_code_of_a_forked_process_is_told(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"ASKED_FOR": "code 4"})])
    seen = await until_exited(backend, cluster)
    assert (seen.exit_code, seen.exit_cause, seen.message) == (4, ExitCause.EXITED, "")


async def test_the_traceback_of_a_forked_process_is_in_its_log(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"ASKED_FOR": "failure"})])
    assert (await until_exited(backend, cluster)).exit_code == 1
    assert "RuntimeError: as asked" in await text(backend, cluster)


async def test_variables_that_a_fork_comes_too_late_for_make_it_a_fresh_process(
    backend: LocalBackend, site: Site, cluster: str
) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"PYTHONHASHSEED": "7"})])
    await until_running(backend, cluster)
    [pid] = site.processes_of(cluster)
    assert b"headrace.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()  # noqa: ASYNC240 no disk behind it


async def test_what_cannot_be_imported_fails_the_start_with_the_reason(site: Site, cluster: str) -> None:
    async with opened(site.backend(agent="broken_agent", standby=1)) as backend:
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        seen = await until_exited(backend, cluster)
        assert seen.exit_cause is ExitCause.START_FAILED
        assert "no module named dask" in seen.message


async def test_many_forks_at_once_take_turns(backend: LocalBackend, cluster: str) -> None:
    workers = [f"w-{i}" for i in range(12)]
    await backend.start([spec(cluster, worker, WARM, environment={"ASKED_FOR": "work"}) for worker in workers])
    for worker in workers:
        await until_written(backend, cluster, "up:", worker)
    said = [await facts(backend, cluster, worker) for worker in workers]
    began = sorted((float(s["began"]), 1) for s in said)
    ended = [(float(s["ended"]), -1) for s in said]
    at_once = max(itertools.accumulate(change for _, change in sorted([*began, *ended])))
    assert at_once <= (os.cpu_count() or 1) + 2  # one more than the bound: each look is a moment late
    order = [int(s["pid"]) for s in said]
    assert order == sorted(order)


@pytest.mark.parametrize("nice", [0, 7])
async def test_processes_of_clusters_have_a_lower_priority_than_the_services(
    site: Site, cluster: str, nice: int, eventually: Eventually
) -> None:
    async with opened(site.backend(standby=1, nice=nice)) as backend:
        await backend.start([spec(cluster, SCHEDULER, WARM), spec(cluster, "forked", WARM), spec(cluster, "spawned")])
        for process in (SCHEDULER, "forked", "spawned"):
            await until_written(backend, cluster, "up", process)
            [pid] = site.processes_of(cluster, process)
            await eventually(lambda pid=pid: niceness(pid) == min(19, niceness(os.getpid()) + nice))
        assert niceness(site.zygote) == niceness(os.getpid())


# --- standby ---


async def test_a_backend_is_open_once_the_standbys_are_ready(site: Site, cluster: str) -> None:
    async with opened(site.backend(standby=2)) as backend:
        assert len(site.standbys()) == 2
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        assert (await facts(backend, cluster))["from standby"] == "True"


async def test_a_zygote_that_was_started_ahead_is_warm_when_the_first_controller_comes(
    site: Site, eventually: Eventually
) -> None:
    await asyncio.to_thread(launch, site.deployment, site.directory, "fake_agent", standby=1, nice=5)
    await eventually(lambda: len(site.standbys()) == 1)
    [standby] = site.standbys()
    async with opened(site.backend(standby=1)):
        assert site.standbys() == [standby]


async def test_standbys_of_another_priority_are_replaced(site: Site, eventually: Eventually) -> None:
    await asyncio.to_thread(launch, site.deployment, site.directory, "fake_agent", standby=1, nice=0)
    await eventually(lambda: len(site.standbys()) == 1)
    [standby] = site.standbys()
    async with opened(site.backend(standby=1, nice=5)):
        await eventually(lambda: standby not in site.standbys() and len(site.standbys()) == 1)


async def test_schedulers_come_from_standby_and_no_process_serves_twice(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=2)) as backend:
        pids: list[str] = []
        for _ in range(4):
            await eventually(lambda: len(site.standbys()) == 2)
            waiting = site.standbys()
            cluster = new_cluster()
            await backend.start([spec(cluster, SCHEDULER, WARM)])
            said = await facts(backend, cluster)
            assert said["from standby"] == "True"
            assert int(said["pid"]) in waiting
            pids.append(said["pid"])
            await backend.stop(cluster)
            assert not is_alive(int(said["pid"]))
        assert len(set(pids)) == 4


async def test_a_dead_standby_is_not_given_away(site: Site, cluster: str, eventually: Eventually) -> None:
    async with opened(site.backend(standby=1)) as backend:
        await eventually(lambda: len(site.standbys()) == 1)
        standby = site.standbys()[0]
        os.kill(standby, signal.SIGKILL)
        # One that dies only after it was told what it is has died as what it was told to be.
        await eventually(lambda: not is_alive(standby))
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        assert (await facts(backend, cluster))["forked"] == "True"


async def test_the_latest_controller_says_how_many_stand_by(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=2)):
        await eventually(lambda: len(site.standbys()) == 2)
    async with opened(site.backend(standby=0)):
        await eventually(lambda: not site.standbys())


# --- several controllers ---


async def test_controllers_that_start_at_once_share_one_zygote(site: Site, cluster: str) -> None:
    backends = [site.backend() for _ in range(3)]
    await asyncio.gather(*(b.open() for b in backends))
    assert site.zygote
    changes = [b.changes() for b in backends]
    await backends[0].start([spec(cluster, SCHEDULER)])
    for stream in changes:
        assert (await asyncio.wait_for(anext(stream), 5)).key.cluster == cluster
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
        await asyncio.gather(until_running(my_backend, "c1"), until_running(their_backend, "c1"))
        os.kill(mine.zygote, signal.SIGKILL)
        os.kill(theirs.zygote, signal.SIGKILL)
        await their_backend.stop("c1")
        assert [s.key.cluster for s in await their_backend.observe()] == ["c1"]
        assert (await status(my_backend, "c1")).state is ProcessState.RUNNING
        await my_backend.stop("c1")


# --- the zygote dies ---


@pytest.mark.parametrize("command", [("sh", "-c", "echo up; exec sleep 1000"), WARM], ids=["spawned", "forked"])
async def test_processes_outlive_the_zygote_and_are_found_again(
    backend: LocalBackend, site: Site, cluster: str, command: tuple[str, ...], eventually: Eventually
) -> None:
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
        assert abs(new.started - old.started) < 1

    [worker] = site.processes_of(cluster, "w-1")
    os.kill(worker, signal.SIGKILL)
    seen = await until_exited(backend, cluster, "w-1")
    assert (seen.exit_code, seen.exit_cause) == (None, ExitCause.EXITED)
    assert "unknown" in seen.message


async def test_a_backend_opened_after_the_zygote_died_finds_what_runs(site: Site, cluster: str) -> None:
    async with opened(site.backend()) as before:
        await before.start([spec(cluster, SCHEDULER)])
        await until_running(before, cluster)
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
    mine = site.processes_of(cluster)
    leader = next(p for p in mine if os.getpgid(p) == p)
    os.kill(site.zygote, signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
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
    await until_running(backend, cluster)
    [pid] = site.processes_of(cluster)
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
        await until_running(backend, cluster)
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


# --- its site ---


async def test_the_place_is_closed_to_others(backend: LocalBackend, site: Site, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, manifest=b"sealed")])
    await until_written(backend, cluster, "up")
    for path in [site.directory, *site.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(paths.manifest(site.directory, cluster).stat().st_mode) == 0o600


async def test_a_place_open_to_others_is_refused(site: Site) -> None:
    paths.zygote(site.directory).mkdir(parents=True, mode=0o755)
    with pytest.raises(BackendError, match="chmod 700"):
        await site.backend().open()


async def test_a_place_that_cannot_be_written_is_named(site: Site) -> None:
    site.directory.write_text("a file")
    with pytest.raises(BackendError, match=site.directory.name):
        await site.backend().open()


async def test_a_long_path_is_no_trouble(make_site: Callable[[], Site], cluster: str) -> None:
    site = make_site()
    long = Site(site.deployment, site.directory / ("d" * 120))
    async with opened(long.backend()) as backend:
        await backend.start([spec(cluster, SCHEDULER)])
        await until_running(backend, cluster)
    shut_down(long.directory)


async def test_forgetting_removes_the_files_of_a_cluster(backend: LocalBackend, site: Site, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "touch here"], manifest=b"sealed")])
    await until_exited(backend, cluster)
    assert (paths.work(site.directory, cluster) / "here").exists()
    draft_of_one_that_was_killed = paths.manifest(site.directory, cluster).with_name(f".{cluster}.1234")
    draft_of_one_that_was_killed.write_bytes(b"sea")
    await backend.forget(cluster)
    assert [p.name for p in site.directory.rglob("*") if cluster in str(p)] == []


async def test_what_runs_is_not_forgotten(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER)])
    with pytest.raises(BackendError, match="stop them first"):
        await backend.forget(cluster)


async def test_a_closed_backend_says_so(site: Site, cluster: str) -> None:
    backend = site.backend()
    with pytest.raises(BackendError, match="open it first"):
        await backend.start([spec(cluster, SCHEDULER)])


async def test_names_that_cannot_be_paths_are_refused(backend: LocalBackend) -> None:
    with pytest.raises(ValueError, match="cannot name a process"):
        await backend.start([spec("../up", SCHEDULER)])


async def test_wrong_options_fail_the_start_with_the_reason(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, settings={"start_command": "not a list"})])
    seen = await until_exited(backend, cluster)
    assert seen.exit_cause is ExitCause.START_FAILED
    assert "start_command" in seen.message


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


async def test_a_standby_that_always_dies_is_not_made_again_and_again(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=1)) as backend:
        await eventually(lambda: len(site.standbys()) == 1)
        os.kill(site.standbys()[0], signal.SIGKILL)
        await eventually(lambda: not site.standbys())
        with pytest.raises(AssertionError):
            await eventually(site.standbys, within=0.6)
        assert await backend.observe() == []
