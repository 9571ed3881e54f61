"""Processes are forked warm, at once or in advance, and at a lower priority than the services."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import WARM, command_line, facts, is_alive, niceness, opened
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
from headrace_backend_local import paths
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.zygote_process import launch
from headrace_controller.backends.process import SCHEDULER


async def test_a_process_without_a_command_is_forked_warm(backend: LocalBackend, site: Site, cluster: str) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"ASKED": "yes"}), spec(cluster, "w-1", WARM)])
    seen = await facts(backend, cluster)
    assert seen["forked"] == "True"
    assert seen["directory"] == str(paths.work(site.directory, cluster))
    assert "ASKED" in seen["variables"]
    assert "HEADRACE_AGENT_TOKEN" in seen["variables"]
    assert (await facts(backend, cluster, "w-1"))["pid"] != seen["pid"]


async def test_forked_and_spawned_processes_see_nothing_of_the_services(backend: LocalBackend, cluster: str) -> None:
    assert "SECRET_OF_THE_SERVICES" in os.environ
    await backend.start([spec(cluster, SCHEDULER, WARM), spec(cluster, "w-1", ["env"])])
    await until_exited(backend, cluster, "w-1")
    seen = await facts(backend, cluster)
    assert "SECRET" not in seen["variables"]
    assert "SECRET" not in await text(backend, cluster, "w-1")


@pytest.mark.parametrize("standby", [0, 1])
async def test_a_forked_process_has_nothing_of_the_zygote_open(
    site: Site, cluster: str, standby: int, eventually: Eventually
) -> None:
    async with opened(site.backend(standby=standby)) as backend:
        await backend.start([spec(new_cluster(), "w-1", WARM)])
        await eventually(lambda: len(site.standbys()) == standby)
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        seen = await facts(backend, cluster)
        log = str(paths.log_file(site.directory, (await status(backend, cluster)).key))
        files = eval(seen["files"])
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
    backend: LocalBackend, site: Site, cluster: str, eventually: Eventually
) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM, environment={"PYTHONHASHSEED": "7"})])
    await until_running(backend, cluster)
    await eventually(lambda: [b"headrace.agent" in command_line(pid) for pid in site.processes_of(cluster)] == [True])


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
    seen = [await facts(backend, cluster, worker) for worker in workers]
    began = sorted((float(s["began"]), 1) for s in seen)
    # A start that lasts for seconds, as on a busy machine, is not waited for any more.
    ended = [(min(float(s["ended"]), float(s["began"]) + 1.5), -1) for s in seen]
    at_once = max(itertools.accumulate(change for _, change in sorted([*began, *ended])))
    assert at_once <= (os.cpu_count() or 1) + 2  # one more than the bound: each look is a moment late
    order = [int(s["pid"]) for s in seen]
    # They were forked in this order: process ids grow, and begin again at the bottom.
    assert sum(later < earlier for earlier, later in itertools.pairwise([*order, order[0]])) == 1


@pytest.mark.parametrize("nice", [0, 7])
async def test_processes_of_clusters_have_a_lower_priority_than_the_services(
    site: Site, cluster: str, nice: int, eventually: Eventually
) -> None:
    async with opened(site.backend(standby=1, nice=nice)) as backend:
        await backend.start([spec(cluster, SCHEDULER, WARM), spec(cluster, "forked", WARM), spec(cluster, "spawned")])
        for process in (SCHEDULER, "forked", "spawned"):
            await until_written(backend, cluster, "up", process)
            pid = site.process_of(cluster, process)
            await eventually(lambda pid=pid: niceness(pid) == min(19, niceness(os.getpid()) + nice))
        assert niceness(site.zygote) == niceness(os.getpid())


# --- standby ---


async def test_a_backend_is_warm_once_the_standbys_are_ready(site: Site, cluster: str) -> None:
    async with opened(site.backend(standby=2)) as backend:
        await backend.warm()
        assert len(site.standbys()) == 2
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        assert (await facts(backend, cluster))["from standby"] == "True"


async def test_standbys_that_came_before_the_end_of_preloading_are_replaced(
    site: Site, cluster: str, eventually: Eventually
) -> None:
    async with opened(site.backend(standby=2, agent="slow_agent")) as backend:
        await backend.warm()
        early = site.standbys()
        (paths.zygote(site.directory) / "preload").touch()
        await eventually(lambda: len(site.standbys()) == 2 and not set(early) & set(site.standbys()))
        await backend.start([spec(cluster, SCHEDULER, WARM)])
        seen = await facts(backend, cluster)
        assert (seen["from standby"], seen["complete"]) == ("True", "True")


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
            seen = await facts(backend, cluster)
            assert seen["from standby"] == "True"
            assert int(seen["pid"]) in waiting
            pids.append(seen["pid"])
            await backend.stop(cluster)
            assert not is_alive(int(seen["pid"]))
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


async def test_a_standby_that_always_dies_is_not_made_again_and_again(site: Site, eventually: Eventually) -> None:
    async with opened(site.backend(standby=1)) as backend:
        await eventually(lambda: len(site.standbys()) == 1)
        os.kill(site.standbys()[0], signal.SIGKILL)
        await eventually(lambda: not site.standbys())
        with pytest.raises(AssertionError):
            await eventually(site.standbys, within=0.6)
        assert await backend.observe() == []
