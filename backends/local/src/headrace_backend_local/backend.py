"""The local backend: asks the zygote, and reads the logs that processes write."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

from headrace_backend_local import manifests, paths
from headrace_backend_local.accounts import Accounts, NoAccount, accounts
from headrace_backend_local.config import Settings
from headrace_backend_local.faults import directory_error
from headrace_backend_local.launch_specs import LaunchSpecs
from headrace_backend_local.protocol import MOST_FILES, Account, Forget, Hello, LaunchSpec, Start, Stop, encode
from headrace_backend_local.status_cache import StatusCache
from headrace_backend_local.zygote_client import ZygoteClient
from headrace_backend_local.zygote_process import AGENT
from headrace_chassis import tenant_files
from headrace_controller.backends.base import BackendError, Capabilities, Deployment, LogPiece, Network
from headrace_controller.backends.listeners import ListenerChecks
from headrace_controller.backends.log_files import LogFiles
from headrace_controller.backends.process import (
    SCHEDULER,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)


class LocalBackend:
    """Runs processes on this machine.

    Parameters
    ----------
    settings
        The backend's settings.
    deployment
        The deployment.
    agent
        Module that the zygote forks processes of.
    """

    capabilities = Capabilities(stop_seconds=1.0, notice_seconds=1.0, warm=True)

    def __init__(self, settings: Settings, deployment: Deployment, *, agent: str = AGENT) -> None:
        self._settings = settings
        self._deployment = deployment
        self._directory = settings.directory.resolve()
        self._cache = StatusCache()
        self._listeners = ListenerChecks(settings.listen_host)
        self._specs = LaunchSpecs(
            deployment=deployment, directory=self._directory, warm=settings.warm, environ=os.environ
        )
        pool = range(settings.pool_first, settings.pool_first + settings.pool_size)
        self._accounts = accounts(settings.accounts, self._directory, minimum_uid=settings.minimum_uid, pool=pool)
        hello = Hello(settings.standby if settings.warm else 0, settings.nice)
        self._zygote = ZygoteClient(
            self._cache, deployment.id, self._directory, agent, hello, accounts=self._accounts is not None
        )

    async def open(self) -> None:
        """Connects to the zygote, started if it does not run; knows all processes when it returns."""
        await self._zygote.open()

    async def warm(self) -> None:
        """Returns once a scheduler can come from standby."""
        await self._zygote.warm()

    async def close(self) -> None:
        """Disconnects. The zygote runs on."""
        self._cache.close()
        await self._zygote.close()

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        found = await self._find_accounts({spec.key.cluster: spec.owner for spec in specs})
        launches = [self._specs.of(spec, found.get(spec.key.cluster)) for spec in specs]
        kept = {spec.key.cluster: spec.manifest for spec in specs if spec.role is Role.SCHEDULER and spec.manifest}
        with _file_errors(self._directory):
            for cluster, manifest in kept.items():
                await asyncio.to_thread(manifests.write, self._directory, cluster, manifest)
        for first in range(0, len(launches), MOST_FILES):
            launched, secrets = zip(*launches[first : first + MOST_FILES], strict=True)
            await self._zygote.ask(partial(_start, launched), files=[encode(secret) for secret in secrets])

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        names = None if processes is None else list(processes)
        await self._zygote.ask(lambda number: Stop(number, cluster, names))

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        """Returns what the zygote has reported; that takes no time."""
        return self._cache.statuses(cluster)

    def changes(self) -> AsyncIterator[ProcessStatus]:
        return self._cache.feed.stream()

    async def logs(
        self,
        cluster: str,
        process: str | None = None,
        *,
        tail_lines: int | None = None,
        follow: bool = False,
        positions: Mapping[str, str] | None = None,
    ) -> AsyncIterator[LogPiece]:
        reader = LogFiles(
            partial(self._log_files, cluster, process),
            lambda name: self._cache.runs(ProcessKey(cluster, name)),
            tail_lines=tail_lines,
            positions=positions,
        )
        async for piece in reader.stream(follow=follow, next_change=lambda: self._cache.next_change(cluster)):
            yield piece

    def network(self, cluster: str, process: str) -> Network:  # noqa: ARG002 all of them are on this machine
        host = self._settings.listen_host
        names, addresses = {"localhost"}, {"127.0.0.1", "::1"}
        if host:
            (addresses if _is_address(host) else names).add(host)
        return Network(
            agent_endpoint=self._deployment.agent_endpoint,
            listen_host=host,
            dns_names=tuple(sorted(names)),
            ip_addresses=tuple(sorted(addresses)),
        )

    async def check_address(self, cluster: str, process: str, address: str) -> None:
        """Accepts what the process listens on now, on a loopback address or the setting `listen_host`."""
        pid = self._cache.pid(ProcessKey(cluster, process))
        if not pid:
            raise BackendError(f"{process} of cluster {cluster} does not run, as far as is known now")
        await self._listeners.check(pid, address)

    async def forget(self, cluster: str) -> None:
        """Removes logs, manifest and working directory."""
        await self._zygote.ask(lambda number: Forget(number, cluster))
        with _file_errors(self._directory):
            await asyncio.to_thread(self._remove_files, cluster)

    async def manifest(self, cluster: str) -> bytes | None:
        return (await self._read_manifests([cluster] if self._has_scheduler(cluster) else [])).get(cluster)

    async def manifests(self) -> Mapping[str, bytes]:
        return await self._read_manifests(
            [
                status.key.cluster
                for status in self._cache.statuses()
                if status.role is Role.SCHEDULER and status.state is not ProcessState.EXITED
            ]
        )

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        if self._has_scheduler(cluster):
            with _file_errors(self._directory):
                await asyncio.to_thread(manifests.write, self._directory, cluster, manifest)

    async def _find_accounts(self, owners: Mapping[str, str]) -> dict[str, Account | NoAccount]:
        """Returns the account of each cluster; nothing if all run as this one."""
        if self._accounts is None:
            return {}
        with _file_errors(self._directory):
            return await asyncio.to_thread(self._look_up, self._accounts, owners)

    def _look_up(self, accounts: Accounts, owners: Mapping[str, str]) -> dict[str, Account | NoAccount]:
        found: dict[str, Account | NoAccount] = {}
        for cluster, owner in owners.items():
            try:
                found[cluster] = accounts.of(owner, paths.work(self._directory, cluster))
            except NoAccount as error:
                found[cluster] = error
        return found

    def _log_files(self, cluster: str, process: str | None) -> Mapping[str, Path]:
        if not paths.is_name(cluster):
            return {}
        if process is None:
            return {file.stem: file for file in sorted(paths.log_directory(self._directory, cluster).glob("*.log"))}
        return (
            {process: paths.log_file(self._directory, ProcessKey(cluster, process))} if paths.is_name(process) else {}
        )

    def _has_scheduler(self, cluster: str) -> bool:
        return self._cache.runs(ProcessKey(cluster, SCHEDULER))

    async def _read_manifests(self, clusters: Sequence[str]) -> dict[str, bytes]:
        with _file_errors(self._directory):
            return await asyncio.to_thread(manifests.read, self._directory, clusters)

    def _remove_files(self, cluster: str) -> None:
        manifests.remove(self._directory, cluster)
        for directory in (paths.log_directory(self._directory, cluster), paths.work(self._directory, cluster)):
            tenant_files.remove(directory)


def _start(specs: Sequence[LaunchSpec], number: int) -> Start:
    return Start(number, list(specs))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _file_errors(directory: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise directory_error(directory, error) from error
