"""What a process has started ends with it, even in a session of its own and with nothing of its environment."""

from __future__ import annotations

import os
import signal

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import WARM, is_alive, opened
from tests.backends.processes import spec, text, until_exited, until_written
from tests.conftest import Eventually

from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.process import SCHEDULER

# Its parent ends at once, as that of a daemon does.
EXECUTED = ("sh", "-c", "env -i setsid sh -c 'echo orphan: $$; exec sleep 1000' & exec sleep 1000")


async def start_orphan(backend: LocalBackend, cluster: str, command: tuple[str, ...]) -> int:
    """Returns the pid of what the process has started."""
    await backend.start([spec(cluster, SCHEDULER, command, environment={"ASKED_FOR": "orphan"})])
    await until_written(backend, cluster, "orphan: ")
    lines = (await text(backend, cluster)).splitlines()
    [pid] = [int(line.removeprefix("orphan: ")) for line in lines if line.startswith("orphan: ")]
    assert is_alive(pid)
    return pid


def leader_of(site: Site, cluster: str) -> int:
    return site.process_of(cluster)  # the orphan has nothing of its environment


both = pytest.mark.parametrize("command", [EXECUTED, WARM], ids=["executed", "forked"])


@both
async def test_it_ends_with_its_cluster(backend: LocalBackend, cluster: str, command: tuple[str, ...]) -> None:
    orphan = await start_orphan(backend, cluster, command)
    await backend.stop(cluster)
    assert not is_alive(orphan)


@both
async def test_it_ends_with_a_process_that_was_killed(
    backend: LocalBackend, site: Site, cluster: str, command: tuple[str, ...], eventually: Eventually
) -> None:
    orphan = await start_orphan(backend, cluster, command)
    os.kill(leader_of(site, cluster), signal.SIGKILL)
    await until_exited(backend, cluster)
    await eventually(lambda: not is_alive(orphan))


@both
async def test_a_stop_waits_for_what_is_left_of_a_process_that_had_ended_before(
    site: Site, cluster: str, command: tuple[str, ...]
) -> None:
    async with opened(site.backend(agent="late_agent")) as backend:
        orphan = await start_orphan(backend, cluster, command)
        os.kill(leader_of(site, cluster), signal.SIGKILL)
        await until_exited(backend, cluster)
        await backend.stop(cluster)
        assert not is_alive(orphan)


@both
async def test_it_is_found_by_the_next_zygote(
    site: Site, cluster: str, command: tuple[str, ...], eventually: Eventually
) -> None:
    async with opened(site.backend()) as backend:
        orphan = await start_orphan(backend, cluster, command)
        kept = await start_orphan(backend, "kept", command)
    leader = leader_of(site, cluster)
    os.kill(site.zygote, signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
    async with opened(site.backend()) as backend:
        await eventually(lambda: not is_alive(orphan))
        assert is_alive(kept)
        await backend.stop("kept")
        assert not is_alive(kept)
