"""A site for a local backend that must be empty of processes when a test ends."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.backends.processes import new_cluster

from headrace_backend_local import process_tags
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.config import Settings
from headrace_backend_local.zygote_process import shut_down
from headrace_controller.backends.base import Deployment


@dataclass(frozen=True)
class Site:
    """A deployment with its local directory."""

    deployment: str
    directory: Path

    @property
    def name(self) -> str:
        return process_tags.site(self.deployment, self.directory)

    @property
    def zygote(self) -> int:
        """The pid of the zygote."""
        # What it forks for another account leads a session for a moment before it has a title of its own.
        return _only(self.zygotes)

    def zygotes(self) -> list[int]:
        """Pids of zygotes: one, or none."""
        # What it has just forked still has its title.
        return [pid for pid in self.titled(b"headrace zygote") if _leads_session(pid)]

    def processes(self) -> list[int]:
        """Pids of all that runs for it."""
        site = self.name.encode()
        return [
            pid
            for pid in (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit())
            if site in _read(pid, "cmdline") or site in _read(pid, "environ")
        ]

    def processes_of(self, cluster: str, process: str = "") -> list[int]:
        """Pids of all that runs for a cluster, or for one of its processes."""
        tag = re.compile(rf"headrace={re.escape(self.name)}/{cluster}/\d+/{process}".encode())
        return [pid for pid in self.processes() if tag.search(_read(pid, "environ"))]

    def process_of(self, cluster: str, process: str = "") -> int:
        """Pid of the only one that runs for it."""
        # One that is being executed shows no environment for a moment.
        return _only(lambda: self.processes_of(cluster, process))

    def standbys(self) -> list[int]:
        """Pids of those that wait for a cluster."""
        return self.titled(b"dask standby")

    def titled(self, title: bytes) -> list[int]:
        """Pids of those whose title begins like this."""
        return [pid for pid in self.processes() if _read(pid, "cmdline").startswith(title)]

    def backend(self, *, standby: int = 0, agent: str = "fake_agent", **settings: Any) -> LocalBackend:
        deployment = Deployment(id=self.deployment, agent_endpoint="unix:/nowhere")
        return LocalBackend(Settings(directory=self.directory, standby=standby, **settings), deployment, agent=agent)


def _only(find: Callable[[], list[int]]) -> int:
    """Waits until one is found."""
    deadline = time.monotonic() + 30
    while len(found := find()) != 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    [pid] = found
    return pid


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
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Makes sites; afterwards nothing may run there."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("SECRET_OF_THE_SERVICES", "key")
    sites: list[Site] = []

    def make(parent: Path = tmp_path) -> Site:
        name = f"test-{secrets.token_hex(4)}"
        sites.append(Site(name, parent / name))
        return sites[-1]

    yield make
    left = {pid: _read(pid, "cmdline") for site in sites for pid in _left(site)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    return make_site()


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[LocalBackend]:
    """An open backend with the fake agent, without standbys."""
    backend = site.backend()
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
def cluster() -> str:
    return new_cluster()


def _left(site: Site) -> list[int]:
    if site.directory.exists():
        shut_down(site.directory)
    deadline = time.monotonic() + 60
    while (left := site.processes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
