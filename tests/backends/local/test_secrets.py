"""A process finds nothing of other clusters' environment and tokens in its memory, though one parent forks them all."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import WARM, opened
from tests.backends.processes import spec, text, until_exited, until_running, until_written
from tests.conftest import Eventually

from headrace_backend_local import paths
from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.process import SCHEDULER


def pattern(needle: str) -> str:
    """A regular expression that is not found itself where it is searched for."""
    return "".join(f"[{letter}]" for letter in needle)


async def finds(backend: LocalBackend, cluster: str, process: str, needle: str, **facts: Any) -> bool:
    behaviour = {"ASKED_FOR": f"finding {pattern(needle)}"}
    await backend.start([spec(cluster, process, WARM, environment=behaviour, **facts)])
    await until_written(backend, cluster, "found: ", process)
    return "found: True" in await text(backend, cluster, process)


@pytest.mark.parametrize("standby", [0, 1])
async def test_a_forked_process_has_nothing_of_other_clusters_in_its_memory(
    site: Site, standby: int, eventually: Eventually
) -> None:
    key, token = f"key{secrets.token_hex(16)}", f"token{secrets.token_hex(16)}"
    hers: dict[str, Any] = {"environment": {"MY_KEY": key}, "agent_token": token}
    async with opened(site.backend(standby=standby)) as backend:
        for i in range(6):
            await eventually(lambda: len(site.standbys()) == standby)
            await backend.start([spec(f"alice-{i}", SCHEDULER, WARM, **hers), spec(f"alice-{i}", "w-1", WARM, **hers)])
            await backend.start([spec(f"alice-{i}", "cold", **hers)])
            await until_running(backend, f"alice-{i}", "cold")
            await until_written(backend, f"alice-{i}", "up", "w-1")
        await eventually(lambda: len(site.standbys()) == standby)
        for process in (SCHEDULER, "w-1"):
            assert not await finds(backend, f"bob-{process}", process, key)
            assert not await finds(backend, f"eve-{process}", process, token)
        assert await finds(backend, "alice", SCHEDULER, token, agent_token=token)


async def test_waiting_secrets_are_closed_to_what_is_forked_meanwhile(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, f"w-{i}", WARM) for i in range(70)])  # more than start, or are sent, at once
    for i in range(70):
        await until_written(backend, cluster, "files:", f"w-{i}")
        assert "memfd" not in await text(backend, cluster, f"w-{i}")


async def test_a_process_that_is_stopped_before_its_turn_never_starts(backend: LocalBackend, cluster: str) -> None:
    await backend.start([spec(cluster, f"w-{i}", WARM) for i in range(12)])
    await backend.stop(cluster)
    await backend.start([spec(cluster, "w-11", WARM, environment={"ASKED_FOR": "code 4"})])
    assert (await until_exited(backend, cluster, "w-11")).exit_code == 4


async def test_the_environment_of_an_executed_process_shows_no_token(
    backend: LocalBackend, site: Site, cluster: str
) -> None:
    token = f"token{secrets.token_hex(16)}"
    await backend.start([spec(cluster, SCHEDULER, agent_token=token)])
    await until_written(backend, cluster, "up")
    pid = site.process_of(cluster)
    assert token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()  # noqa: ASYNC240 no disk behind it
    [file] = paths.work(site.directory, cluster).glob(".*")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (token, 0o600)
