"""The fork server beside the nursery: whoever kills them finds nothing left behind. With headrace's own agent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.backends.local.conftest import Place
from tests.conftest import Eventually

from headrace_backend_local import places
from headrace_backend_local.launch import AGENT, shut_down

_NURSERYS_OWN = {places.LOCK, places.LOG}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of all that is started here."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


def fork_servers(place: Place) -> list[int]:
    title = f"headrace fork server headrace={place.site}".encode()
    return [pid for pid in place.processes() if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title)]


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {places.SOCKET}  # a killed nursery's own


async def until_loaded(place: Place, eventually: Eventually) -> int:
    """Returns the fork server's pid; a process in standby comes after it."""
    await eventually(place.standbys, within=20)
    [pid] = fork_servers(place)
    return pid


@pytest.mark.parametrize("victims", ["nursery", "fork server", "both"])
async def test_one_that_is_killed_leaves_nothing(
    place: Place, temporary: Path, victims: str, eventually: Eventually
) -> None:
    backend = place.backend(agent=AGENT, standby=1)
    await backend.open()
    server = await until_loaded(place, eventually)
    nursery = place.nursery
    await backend.close()
    if victims != "nursery":
        os.kill(server, signal.SIGKILL)
    if victims != "fork server":
        os.kill(nursery, signal.SIGKILL)
    else:
        shut_down(place.directory)
    await eventually(lambda: not place.processes())
    assert names_in(temporary) <= {"dask-scratch-space"}  # Dask's own, for all time
    assert names_in(places.nursery(place.directory)) == _NURSERYS_OWN


async def test_what_one_killed_as_it_started_has_left_is_no_trouble_and_swept(
    place: Place, eventually: Eventually
) -> None:
    places.make(place.directory)
    left = places.nursery(place.directory) / "fork"
    left.touch()
    backend = place.backend(agent=AGENT, standby=1)
    await backend.open()
    await until_loaded(place, eventually)
    await backend.close()
    assert not left.exists()


async def test_a_long_path_is_no_trouble(place: Place, eventually: Eventually) -> None:
    long = Place(place.deployment, place.directory / ("d" * 120))
    backend = long.backend(agent=AGENT, standby=1)
    await backend.open()
    await until_loaded(long, eventually)
    await backend.close()
    shut_down(long.directory)
