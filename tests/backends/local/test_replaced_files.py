"""A user's process that replaces its files harms neither the zygote, nor a controller, nor other clusters."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backends.local.conftest import Site
from tests.backends.local.opened import WARM, facts
from tests.backends.processes import new_cluster, spec, text, until_exited, until_running, until_written
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths
from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey


def pipe(path: Path, _other: Path) -> None:
    os.mkfifo(path)


def link(path: Path, other: Path) -> None:
    path.symlink_to(other)


def directory(path: Path, _other: Path) -> None:
    path.mkdir()


Replacement = Callable[[Path, Path], None]
REPLACEMENTS = [pipe, link, directory]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A file of another user."""
    path = tmp_path / "of another user"
    path.write_text("secret\n")
    return path


def is_unharmed(other: Path) -> bool:
    return other.read_text() == "secret\n"


async def until_maintained(site: Site, eventually: Eventually) -> None:
    """Returns when the zygote has looked at all logs again: it then looks at one that is too large."""
    path = paths.log_file(site.directory, ProcessKey("large", SCHEDULER))
    with path.open("r+b") as file:
        file.write(b"\n" * (65 * 1024 * 1024))
    await eventually(lambda: path.stat().st_blocks * 512 < 64 * 1024 * 1024)


@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_a_replaced_log(
    backend: LocalBackend, site: Site, cluster: str, other: Path, replace: Replacement, eventually: Eventually
) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM), spec("large", SCHEDULER, WARM)])
    await until_written(backend, cluster, "up")
    await until_written(backend, "large", "up")
    log = paths.log_file(site.directory, ProcessKey(cluster, SCHEDULER))
    log.unlink()
    replace(log, other)
    assert await text(backend, cluster) == ""
    await until_maintained(site, eventually)
    # A start that would write there is refused, another one succeeds.
    await backend.stop(cluster)
    await backend.start([spec(cluster, SCHEDULER, WARM), spec(new := new_cluster(), SCHEDULER, WARM)])
    seen = await until_exited(backend, cluster)
    assert seen.exit_cause is ExitCause.START_FAILED
    assert f"{log} is not" in seen.message
    await until_running(backend, new)
    await backend.forget(cluster)
    assert is_unharmed(other)


@pytest.mark.parametrize("command", [("true",), WARM], ids=["executed", "forked"])
async def test_a_replaced_working_directory(
    backend: LocalBackend, site: Site, cluster: str, other: Path, command: tuple[str, ...]
) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM)])
    await facts(backend, cluster)
    work = paths.work(site.directory, cluster)
    shutil.rmtree(work)
    work.symlink_to(other.parent)
    await backend.start([spec(cluster, "w-1", command)])
    seen = await until_exited(backend, cluster, "w-1")
    assert seen.exit_cause is ExitCause.START_FAILED
    assert f"{work} is not" in seen.message
    await backend.stop(cluster)
    await backend.forget(cluster)
    assert not work.is_symlink()
    assert is_unharmed(other)


@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_a_replaced_manifest(
    backend: LocalBackend, site: Site, cluster: str, other: Path, replace: Replacement
) -> None:
    await backend.start([spec(cluster, SCHEDULER, manifest=b"mine"), spec("c2", SCHEDULER, manifest=b"theirs")])
    manifest = paths.manifest(site.directory, cluster)
    manifest.unlink()
    replace(manifest, other)
    assert await backend.manifests() == {"c2": b"theirs"}
    await backend.stop(cluster)
    await backend.forget(cluster)
    assert manifest not in site.directory.rglob("*")
    assert is_unharmed(other)


@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_a_log_that_was_replaced_when_another_zygote_adopts_its_process(
    backend: LocalBackend, site: Site, cluster: str, other: Path, replace: Replacement, eventually: Eventually
) -> None:
    await backend.start([spec(cluster, SCHEDULER, WARM)])
    await until_written(backend, cluster, "up")
    log = paths.log_file(site.directory, ProcessKey(cluster, SCHEDULER))
    log.unlink()
    replace(log, other)
    before = site.zygote
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: site.zygotes() not in ([], [before]))
    await backend.stop(cluster)
    assert is_unharmed(other)


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("name", [paths.LOG, paths.LOCK])
async def test_a_replaced_file_of_the_zygote_is_named_when_it_starts(
    site: Site, other: Path, replace: Replacement, name: str
) -> None:
    paths.make(site.directory)
    replace(paths.zygote(site.directory) / name, other)
    with pytest.raises(BackendError, match=f"{name} is not"):
        await site.backend().open()
    assert is_unharmed(other)
