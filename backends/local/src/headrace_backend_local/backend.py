"""The local backend: speaks to the nursery, reads the logs that processes write."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from headrace_backend_local import launch, manifests, places
from headrace_backend_local.board import Board
from headrace_backend_local.link import Link
from headrace_backend_local.log_reader import LogReader
from headrace_backend_local.orders import Orders
from headrace_backend_local.protocol import Forget, Start, Stop
from headrace_controller.backends.base import (
    BackendError,
    LogPiece,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)

_FOLLOW_SECONDS = (0.05, 0.5)


class LocalBackend:
    """Runs processes on this machine.

    Parameters
    ----------
    deployment
        Id of the deployment.
    directory
        Its local directory: sockets, logs, manifests, working directories.
    warm
        Fork from a process that has everything imported, where the options allow it.
    standby
        How many forked processes wait for a cluster.
    agent
        Module of which the nursery takes what it forks.
    """

    def __init__(
        self, deployment: str, directory: Path, *, warm: bool = True, standby: int = 2, agent: str = launch.AGENT
    ) -> None:
        self._directory = directory.resolve()
        self._board = Board()
        self._orders = Orders(deployment=deployment, directory=self._directory, warm=warm, environ=os.environ)
        self._link = Link(self._board, deployment, self._directory, agent, standby if warm else 0)

    async def open(self) -> None:
        """Connects to the nursery, started if there is none; knows everything that runs when it returns."""
        await self._link.open()

    async def close(self) -> None:
        """Disconnects; the nursery stays."""
        self._board.close()
        await self._link.close()

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Hands the processes over to the nursery."""
        orders = [self._orders.of(spec) for spec in specs]
        kept = {spec.key.cluster: spec.manifest for spec in specs if spec.role is Role.SCHEDULER and spec.manifest}
        with _file_trouble(self._directory):
            for cluster, manifest in kept.items():
                await asyncio.to_thread(manifests.write, self._directory, cluster, manifest)
        await self._link.ask(lambda number: Start(number, orders))

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        """Has the nursery end them, and waits until they are gone."""
        names = None if processes is None else list(processes)
        await self._link.ask(lambda number: Stop(number, cluster, names))

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        """Returns what the nursery has told; that takes no time."""
        return self._board.statuses(cluster)

    def changes(self) -> AsyncIterator[ProcessStatus]:
        """Streams what the nursery tells."""
        return self._board.stream()

    async def logs(
        self, cluster: str, process: str | None = None, *, tail_lines: int | None = None, follow: bool = False
    ) -> AsyncIterator[LogPiece]:
        """Streams logs from their files."""
        runs = partial(self._runs, cluster)
        reader = LogReader(self._directory, cluster, process, tail_lines, runs)
        wait, longest = _FOLLOW_SECONDS
        while True:
            changed = self._board.changed
            pieces = await asyncio.to_thread(reader.read)
            for piece in pieces:
                yield piece
            if pieces:
                wait, _ = _FOLLOW_SECONDS
                continue
            if not follow or self._board.closed:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), wait)
            wait = min(longest, wait * 1.5)

    async def forget(self, cluster: str) -> None:
        """Removes logs, manifest and working directory."""
        await self._link.ask(lambda number: Forget(number, cluster))
        with _file_trouble(self._directory):
            await asyncio.to_thread(self._remove_files, cluster)

    async def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifests of clusters whose scheduler runs."""
        running = _with_scheduler(self._board.statuses())
        with _file_trouble(self._directory):
            return await asyncio.to_thread(manifests.read, self._directory, running)

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        """Replaces the manifest of a cluster whose scheduler runs."""
        if _with_scheduler(self._board.statuses(cluster)):
            with _file_trouble(self._directory):
                await asyncio.to_thread(manifests.write, self._directory, cluster, manifest)

    def _runs(self, cluster: str, process: str) -> bool:
        return self._board.runs(ProcessKey(cluster, process))

    def _remove_files(self, cluster: str) -> None:
        manifests.remove(self._directory, cluster)
        for directory in (places.log_directory(self._directory, cluster), places.work(self._directory, cluster)):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)


def _with_scheduler(statuses: Iterable[ProcessStatus]) -> list[str]:
    """The clusters whose scheduler runs."""
    return [
        status.key.cluster
        for status in statuses
        if status.role is Role.SCHEDULER and status.state is not ProcessState.EXITED
    ]


@contextlib.contextmanager
def _file_trouble(directory: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"the local directory {directory} cannot be used: {error}") from error
