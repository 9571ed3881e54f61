"""Carries out what a plan decided, by asking the backend; every step is safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from headrace_chassis import logs
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_controller.backends.base import SCHEDULER, Backend, BackendError, ProcessKey, ProcessSpec, Role
from headrace_controller.model import Cluster, ClusterId, WorkerId
from headrace_controller.options import shapes
from headrace_controller.plan import Action, StartProcesses, StopAll, StopProcesses
from headrace_controller.reconciling.manifest_keeping import ManifestKeeping
from headrace_controller.reconciling.troubles import Troubles

log = logs.get_logger()
_TAIL_LINES = 100
_TAIL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AgentAccess:
    """Where agents find this service, and what they check it with."""

    endpoint: str
    ca_pem: str
    tokens: AgentTokens


class CarryingOut:
    """Starts at once; stops beside, because a stop waits for processes to end."""

    def __init__(
        self,
        backend: Backend,
        manifests: ManifestKeeping,
        agents: AgentAccess,
        troubles: Troubles,
        *,
        failed: Callable[[ClusterId], None],
    ) -> None:
        self._backend = backend
        self._manifests = manifests
        self._agents = agents
        self._troubles = troubles
        self._failed = failed
        self._stopping: set[tuple[ClusterId, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def carry_out(self, cluster: Cluster, actions: Iterable[Action]) -> None:
        """Carries out actions in their order, and has the manifest refreshed beside.

        A start that the backend refuses is noted, and keeps nothing else from being carried out.
        """
        for action in actions:
            match action:
                case StartProcesses(processes):
                    await self._start(cluster, processes)
                case StopProcesses(processes):
                    self.stop(cluster.id, processes)
                case StopAll():
                    self._troubles.forget(cluster.id)
                    self._manifests.refresh(cluster)  # what is to end must not be adopted as if it was to go on
                    self.stop(cluster.id)
                case _:
                    pass
        self._manifests.refresh(cluster)

    def stop(self, cluster: ClusterId, processes: Collection[str] | None = None) -> None:
        """Begins to end processes, all by default; those that are being ended already are left out."""
        names = {""} if processes is None else set(processes)
        wanted = {name for name in names if {(cluster, name), (cluster, "")}.isdisjoint(self._stopping)}
        if not wanted:
            return
        marks = {(cluster, name) for name in wanted}
        self._stopping |= marks
        task = asyncio.create_task(self._stop(cluster, None if processes is None else sorted(wanted)))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._stopped(done, marks))

    async def log_tail(self, cluster: ClusterId, process: str, most_bytes: int) -> str:
        """The last lines of a process's log; "" if they cannot be read."""
        content = b""
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                async for piece in self._backend.logs(cluster, process, tail_lines=_TAIL_LINES):
                    content = (content + piece.lines)[-most_bytes:]
        except (BackendError, TimeoutError) as error:
            log.warning("cannot read a log", cluster=cluster, process=process, error=str(error))
        return content.decode(errors="replace")

    async def close(self) -> None:
        """Lets stops that are under way go; they are asked for again by whoever comes next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self, cluster: Cluster, processes: Sequence[str]) -> None:
        token = self._agents.tokens.issue(cluster.id)
        manifest = await self._manifests.first(cluster) if SCHEDULER in processes else b""
        specs = [self._spec(cluster, process, token, manifest) for process in processes]
        record = cluster.status.workers.get(WorkerId(processes[0]))
        group = record.group if record else None
        try:
            await self._backend.start(specs)
        except BackendError as error:
            log.warning("cannot start processes; will try again", cluster=cluster.id, group=group, error=str(error))
            self._troubles.note(cluster.id, group, str(error))
            self._failed(cluster.id)
        else:
            self._troubles.over(cluster.id, group)

    def _spec(self, cluster: Cluster, process: str, token: str, manifest: bytes) -> ProcessSpec:
        record = cluster.status.workers.get(WorkerId(process))
        group = cluster.spec.group(record.group) if record else None
        return ProcessSpec(
            key=ProcessKey(cluster.id, process),
            role=Role.WORKER if record else Role.SCHEDULER,
            generation=cluster.generation,
            owner=cluster.owner,
            agent_token=token,
            agent_endpoint=self._agents.endpoint,
            agent_ca_pem=self._agents.ca_pem,
            options=shapes.effective(cluster.spec, group),
            environment=shapes.environment(cluster.spec, group),
            manifest=b"" if record else manifest,
        )

    async def _stop(self, cluster: ClusterId, processes: Sequence[str] | None) -> None:
        if processes is None:
            await self._manifests.written(cluster)
        try:
            await self._backend.stop(cluster, processes)
        except BackendError as error:
            log.warning("cannot stop processes", cluster=cluster, processes=processes, error=str(error))
            self._failed(cluster)

    def _stopped(self, task: asyncio.Task[None], marks: set[tuple[ClusterId, str]]) -> None:
        self._tasks.discard(task)
        self._stopping -= marks
        if not task.cancelled() and (error := task.exception()):
            log.error("stopping failed", exc_info=error)
