"""A local directory that cannot be used any more: a start fails at once, with what is wrong and whom to ask."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.backends.local.account_users import ROOT
from tests.backends.local.conftest import Site
from tests.backends.local.opened import is_alive, opened
from tests.backends.processes import spec, until_exited, until_running
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths
from headrace_backend_local.accounts import NoAccount, Pool
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.faults import directory_error
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessSpec


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB and 64 files."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "none", mounted]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {done.stderr.decode()}")
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture
def on_disk(disk: Path, make_site: Callable[..., Site]) -> Site:
    return make_site(disk)


async def refused(backend: LocalBackend, process: ProcessSpec) -> str:
    """The sentence of a start that fails and is not tried again."""
    with pytest.raises(BackendError) as raised:
        await backend.start([process])
    assert (raised.value.cause, raised.value.wait) == (ExitCause.START_FAILED, None)
    return str(raised.value)


def scheduler(cluster: str) -> ProcessSpec:
    return spec(cluster, SCHEDULER, manifest=b"sealed")


async def test_a_folder_that_is_gone(backend: LocalBackend, site: Site, cluster: str) -> None:
    shutil.rmtree(site.directory / "manifests")
    sentence = await refused(backend, scheduler(cluster))
    assert sentence.startswith(f"the local directory {site.directory} cannot be used: ask an administrator to repair")
    assert "No such file or directory" in sentence
    assert await backend.observe(cluster) == []


@ROOT
async def test_a_full_disk(disk: Path, on_disk: Site, cluster: str) -> None:
    async with opened(on_disk.backend()) as backend:
        rest = disk / "rest"
        with rest.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        sentence = await refused(backend, scheduler(cluster))
        assert sentence.startswith(f"the disk of the local directory {on_disk.directory} is full: ask an administrator")
        rest.unlink()
        await backend.start([scheduler(cluster)])
        await until_running(backend, cluster)


@ROOT
async def test_a_disk_that_is_full_for_the_zygote_fails_the_process(disk: Path, on_disk: Site, cluster: str) -> None:
    async with opened(on_disk.backend()) as backend:
        await backend.start([scheduler(cluster)])
        await until_running(backend, cluster)
        for n in range(64):
            with suppress(OSError):
                (disk / str(n)).mkdir()
        await backend.start([spec("c-other", "w-1")])
        seen = await until_exited(backend, "c-other", "w-1")
        assert seen.exit_cause is ExitCause.START_FAILED
        assert "No space left on device" in seen.message


async def test_a_zygote_that_cannot_start_again_says_why_until_it_can(
    backend: LocalBackend, site: Site, cluster: str, eventually: Eventually
) -> None:
    private = paths.zygote(site.directory)
    private.chmod(0o755)
    killed = site.zygote
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: not is_alive(killed))
    sentence = await refused(backend, spec(cluster, SCHEDULER))
    assert sentence.startswith(f"the zygote in {site.directory} does not start: ")
    assert f"chmod 700 {private}" in sentence
    private.chmod(0o700)

    async def starts() -> bool:
        try:
            await backend.start([spec(cluster, SCHEDULER)])
        except BackendError:
            return False
        return True

    await eventually(starts)
    await until_running(backend, cluster)


async def test_a_place_that_was_never_usable_is_said_to_be(site: Site) -> None:
    site.directory.write_text("a file")
    with pytest.raises(BackendError) as raised:
        await site.backend().open()
    assert raised.value.cause is ExitCause.START_FAILED
    site.directory.unlink()


@pytest.mark.parametrize(
    ("number", "cause"),
    [(24, None), (12, None), (116, None), (28, ExitCause.START_FAILED), (13, ExitCause.START_FAILED)],
    ids=["too many open files", "no memory", "stale handle", "full", "permission"],
)
def test_what_may_soon_succeed_by_itself_is_tried_again(tmp_path: Path, number: int, cause: ExitCause | None) -> None:
    found = directory_error(tmp_path, OSError(number, os.strerror(number)))
    assert (found.cause, found.wait) == (cause, None)
    assert os.strerror(number) in str(found)


def test_a_damaged_file_of_user_ids_gives_nobody_the_id_of_another(tmp_path: Path) -> None:
    pool = Pool(tmp_path, range(70_000, 70_010))
    pool.of("ann", tmp_path)
    paths.accounts(tmp_path).write_text('{"ann": 70')
    with pytest.raises(NoAccount, match=r"is damaged: ask the administrator to restore it"):
        pool.of("bob", tmp_path)
