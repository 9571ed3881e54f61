"""The last status of each process, so that nobody waits for the zygote, and the stream of their changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from socket import gethostname

from headrace.v1.enums import ExitCause
from headrace_backend_local.protocol import Report
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus

_VANISHED = "its exit code is unknown, because it exited while no zygote ran"


class StatusCache:
    """Keeps what the zygote reports, by cluster and process."""

    def __init__(self) -> None:
        self.feed = ChangeFeed()
        self._closed = False
        self._host = gethostname()
        self._statuses: dict[str, dict[str, ProcessStatus]] = {}
        self._pids: dict[ProcessKey, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def accept(self, report: Report) -> None:
        """Accepts a report."""
        self._pids[ProcessKey(report.cluster, report.process)] = report.pid
        self._accept(self._status(report))

    def replace(self, reports: Sequence[Report]) -> None:
        """Accepts all that a zygote knows, which may be another zygote than before."""
        self._pids = {ProcessKey(report.cluster, report.process): report.pid for report in reports}
        fresh = {status.key: status for status in map(self._status, reports)}
        for known in self.statuses():
            if known.key not in fresh and known.state is not ProcessState.EXITED:
                self._accept(replace(known, state=ProcessState.EXITED, exit_cause=ExitCause.EXITED, message=_VANISHED))
        for status in fresh.values():
            self._accept(status)

    def discard(self, cluster: str) -> None:
        """Discards what is known of a cluster."""
        for process in self._statuses.pop(cluster, {}):
            self._pids.pop(ProcessKey(cluster, process), None)
        self._wake(cluster)

    def close(self) -> None:
        """Ends all streams of changes."""
        self._closed = True
        self.feed.close()
        for cluster in list(self._waiting):
            self._wake(cluster)

    def statuses(self, cluster: str | None = None) -> list[ProcessStatus]:
        """Returns what is known, of one cluster or of all."""
        if cluster is not None:
            return list(self._statuses.get(cluster, {}).values())
        return list(chain.from_iterable(of_cluster.values() for of_cluster in self._statuses.values()))

    def runs(self, key: ProcessKey) -> bool:
        """Whether a process runs or is about to."""
        known = self._statuses.get(key.cluster, {}).get(key.process)
        return known is not None and known.state is not ProcessState.EXITED

    def pid(self, key: ProcessKey) -> int:
        """Returns the pid of a process, which leads its group; 0 if it does not run."""
        return self._pids.get(key, 0) if self.runs(key) else 0

    def next_change(self, cluster: str) -> asyncio.Event | None:
        """Returns an event that is set at the next change of a cluster; None once this cache is closed."""
        return None if self._closed else self._waiting.setdefault(cluster, asyncio.Event())

    def _accept(self, status: ProcessStatus) -> None:
        of_cluster = self._statuses.setdefault(status.key.cluster, {})
        if of_cluster.get(status.key.process) != status:
            of_cluster[status.key.process] = status
            self.feed.publish(status)
            self._wake(status.key.cluster)

    def _wake(self, cluster: str) -> None:
        if event := self._waiting.pop(cluster, None):
            event.set()

    def _status(self, report: Report) -> ProcessStatus:
        return ProcessStatus(
            key=ProcessKey(report.cluster, report.process),
            role=report.role,
            generation=report.generation,
            state=report.state,
            exit_code=report.exit_code,
            exit_cause=report.exit_cause,
            message=report.message,
            started=report.started,
            host=self._host,
        )
