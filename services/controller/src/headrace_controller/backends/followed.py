"""A backend that is followed through its failures, with the last status of each of its processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from headrace.backoff import delays
from headrace.v1.enums import ExitCause, WaitReason
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import Backend, BackendError, Remote
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.contact import ContactRecord
from headrace_controller.backends.process import ProcessState, ProcessStatus

log = get_logger()

_RETRY_SECONDS = (0.1, 5.0)
_VANISHED = "its exit code is unknown, because the backend could not be observed"


class FollowedBackend:
    """Opens and observes a backend, follows its changes, and starts over after each failure."""

    def __init__(self, name: str, backend: Backend, feed: ChangeFeed) -> None:
        self.name = name
        self.observed = False  # whether it was, at least once
        self._backend = backend
        self._feed = feed
        self._failure = BackendError("is not open", wait=WaitReason.PLATFORM_AWAY)
        self._open = False
        self._statuses: dict[str, dict[str, ProcessStatus]] = {}
        self._observing = asyncio.Lock()
        self._changed_meanwhile: set[str] = set()

    @property
    def opened(self) -> Backend:
        """The backend; raises `BackendError` while it cannot be opened."""
        if not self._open:
            failure = self._failure
            raise BackendError(f"backend {self.name}: {failure}", cause=failure.cause, wait=failure.wait)
        return self._backend

    @property
    def contact(self) -> ContactRecord | None:
        """Whether its platform answers; None if it has none that may be away by itself."""
        return self._backend.contact if isinstance(self._backend, Remote) else None

    def shows(self, cluster: str) -> bool:
        """Whether it has reported processes of the cluster."""
        return cluster in self._statuses

    async def connect(self) -> AsyncIterator[ProcessStatus]:
        """Opens the backend unless it is open, and observes it; returns its changes since before that."""
        if not self._open:
            try:
                await self._backend.open()
            except BackendError as error:
                self._failure = error
                raise
            self._open = True
        changes = self._backend.changes()
        await self._refresh()
        return changes

    async def follow(self, changes: AsyncIterator[ProcessStatus] | None) -> None:
        """Accepts changes until cancelled; connects again after a failure, and first if there are none."""
        pauses = delays(*_RETRY_SECONDS)
        while True:
            try:
                async for status in changes or await self.connect():
                    self._accept(status)
                    pauses = delays(*_RETRY_SECONDS)
                log.warning("backend ended its stream of changes", backend=self.name)
            except BackendError as error:
                log.warning("backend cannot be followed", backend=self.name, error=str(error))
            except Exception:
                # A fault of one backend must not keep the others from being followed.
                log.exception("backend failed", backend=self.name)
            changes = None
            await asyncio.sleep(next(pauses))

    async def observe(self) -> Sequence[ProcessStatus]:
        """Returns all processes; the last known ones if the backend fails."""
        try:
            await self._refresh()
        except BackendError as error:
            log.warning("backend cannot be observed", backend=self.name, error=str(error))
        return [status for of_cluster in self._statuses.values() for status in of_cluster.values()]

    def discard(self, cluster: str) -> None:
        """Discards what is known of a cluster of which the backend keeps nothing."""
        self._statuses.pop(cluster, None)

    async def close(self) -> None:
        """Closes the backend."""
        if self._open:
            await self._backend.close()

    async def _refresh(self) -> None:
        async with self._observing:
            self._changed_meanwhile.clear()
            seen: dict[str, dict[str, ProcessStatus]] = {}
            for status in await self.opened.observe():
                seen.setdefault(status.key.cluster, {})[status.key.process] = status
            # What has changed while the backend was observed is newer than what was seen.
            for cluster in (self._statuses.keys() | seen.keys()) - self._changed_meanwhile:
                self._replace(cluster, seen.get(cluster, {}))
            self.observed = True

    def _replace(self, cluster: str, seen: dict[str, ProcessStatus]) -> None:
        known = self._statuses.pop(cluster, {})
        seen |= {process: _vanished(known[process]) for process in _running(known) if process not in seen}
        if seen:
            self._statuses[cluster] = seen
        for process, status in seen.items():
            if status != known.get(process):
                self._feed.publish(status)

    def _accept(self, status: ProcessStatus) -> None:
        cluster, process = status.key.cluster, status.key.process
        if self._observing.locked():
            self._changed_meanwhile.add(cluster)
        of_cluster = self._statuses.setdefault(cluster, {})
        if status != of_cluster.get(process):
            of_cluster[process] = status
            self._feed.publish(status)


def _running(statuses: Mapping[str, ProcessStatus]) -> list[str]:
    return [process for process, status in statuses.items() if status.state is not ProcessState.EXITED]


def _vanished(status: ProcessStatus) -> ProcessStatus:
    return replace(status, state=ProcessState.EXITED, exit_cause=ExitCause.EXITED, message=_VANISHED)
