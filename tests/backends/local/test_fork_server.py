"""The fork server beside the zygote: nothing is left behind when they are killed. With headrace's own agent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.backends.local.conftest import Site
from tests.conftest import Eventually

from headrace_backend_local import paths
from headrace_backend_local.zygote_process import AGENT, shut_down

_ZYGOTES_OWN = {paths.LOCK, paths.LOG}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of all that is started here."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


def fork_servers(site: Site) -> list[int]:
    return site.titled(f"headrace fork server headrace={site.name}".encode())


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {paths.SOCKET}  # a killed zygote's own


async def until_loaded(site: Site, eventually: Eventually) -> int:
    """Returns the fork server's pid. It is the last that is loaded."""
    await eventually(lambda: fork_servers(site) and site.standbys())
    [pid] = fork_servers(site)
    return pid


@pytest.mark.parametrize("victims", ["zygote", "fork server", "both"])
async def test_one_that_is_killed_leaves_nothing(
    site: Site, temporary: Path, victims: str, eventually: Eventually
) -> None:
    backend = site.backend(agent=AGENT, standby=1)
    await backend.open()
    server = await until_loaded(site, eventually)
    zygote = site.zygote
    await backend.close()
    if victims != "zygote":
        os.kill(server, signal.SIGKILL)
    if victims != "fork server":
        os.kill(zygote, signal.SIGKILL)
    else:
        shut_down(site.directory)
    await eventually(lambda: not site.processes())
    assert names_in(temporary) <= {"dask-scratch-space"}  # Dask's own, for all time
    assert names_in(paths.zygote(site.directory)) == _ZYGOTES_OWN


async def test_one_that_is_killed_is_replaced_and_so_are_the_standbys_that_knew_it(
    site: Site, eventually: Eventually
) -> None:
    backend = site.backend(agent=AGENT, standby=1)
    await backend.open()
    killed = await until_loaded(site, eventually)
    known = site.standbys()
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: fork_servers(site) not in ([], [killed]))
    await eventually(lambda: len(site.standbys()) == 1 and site.standbys() != known)
    await backend.close()


async def test_what_one_killed_as_it_started_has_left_is_no_trouble_and_swept(
    site: Site, eventually: Eventually
) -> None:
    paths.make(site.directory)
    left = paths.zygote(site.directory) / "fork"
    left.touch()
    backend = site.backend(agent=AGENT, standby=1)
    await backend.open()
    await until_loaded(site, eventually)
    await backend.close()
    assert not left.exists()


async def test_a_long_path_is_no_trouble(site: Site, eventually: Eventually) -> None:
    long = Site(site.deployment, site.directory / ("d" * 120))
    backend = long.backend(agent=AGENT, standby=1)
    await backend.open()
    await until_loaded(long, eventually)
    await backend.close()
    shut_down(long.directory)
