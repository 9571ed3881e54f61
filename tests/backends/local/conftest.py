"""A place for a local backend that must be empty of processes when a test ends."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace_backend_local import marks
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.launch import shut_down


@dataclass(frozen=True)
class Place:
    """A deployment with its local directory."""

    deployment: str
    directory: Path

    @property
    def site(self) -> str:
        return marks.site(self.deployment, self.directory)

    @property
    def nursery(self) -> int:
        """The pid of the nursery."""
        [pid] = self.nurseries()
        return pid

    def nurseries(self) -> list[int]:
        """Pids of nurseries: one, or none."""
        named = [pid for pid in self.processes() if _read(pid, "cmdline").startswith(b"headrace nursery")]
        return [pid for pid in named if _leads_session(pid)]  # what it has just forked still has its name

    def processes(self) -> list[int]:
        """Pids of all that runs for it."""
        site = self.site.encode()
        return [
            pid
            for pid in (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit())
            if site in _read(pid, "cmdline") or site in _read(pid, "environ")
        ]

    def processes_of(self, cluster: str, process: str = "") -> list[int]:
        """Pids of all that runs for a cluster, or for one of its processes."""
        mark = re.compile(rf"headrace={re.escape(self.site)}/{cluster}/\d+/{process}".encode())
        return [pid for pid in self.processes() if mark.search(_read(pid, "environ"))]

    def standbys(self) -> list[int]:
        """Pids of those that wait for a cluster."""
        return [pid for pid in self.processes() if _read(pid, "cmdline").startswith(b"dask standby")]

    def backend(self, *, standby: int = 0, agent: str = "fake_agent") -> LocalBackend:
        return LocalBackend(self.deployment, self.directory, standby=standby, agent=agent)


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Place]]:
    """Makes places; afterwards nothing may run there."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("SECRET_OF_THE_SERVICES", "key")
    places: list[Place] = []

    def make() -> Place:
        name = f"test-{secrets.token_hex(4)}"
        places.append(Place(name, tmp_path / name))
        return places[-1]

    yield make
    left = {pid: _read(pid, "cmdline") for place in places for pid in _left(place)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    return make_place()


def _left(place: Place) -> list[int]:
    if place.directory.exists():
        shut_down(place.directory)
    deadline = time.monotonic() + 2
    while (left := place.processes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
