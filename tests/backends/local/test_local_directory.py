"""The local directory is the deployment's own; files of a cluster are kept until it is forgotten."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import opened
from tests.backends.processes import (
    spec,
    until_exited,
    until_running,
    until_written,
)

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.zygote_process import shut_down
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER


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
