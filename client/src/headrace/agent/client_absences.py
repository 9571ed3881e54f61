"""Reports clients whose connection is interrupted, and their return."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import dask.config
from distributed.comm.core import Comm

from headrace._resumable.listening import SessionTable
from headrace.agent.pending_reports import PendingReports
from headrace.v1 import cluster_pb2

if TYPE_CHECKING:
    from distributed import Scheduler

DEFAULT_GRACE_SECONDS = 600.0
# Shorter interruptions, as at the restart of a proxy, are no news.
_QUIET_SECONDS = 2.0


def session_grace() -> float:
    """Returns the seconds for which the administrator lets absent clients keep their futures."""
    return float(dask.config.get("headrace.session-grace-seconds", default=DEFAULT_GRACE_SECONDS))


class ClientAbsences:
    """Adds events for the clients of a scheduler that are away for longer than a moment.

    Parameters
    ----------
    sessions
        The scheduler's sessions. Many belong to one client; the one over which it registered counts.
    """

    def __init__(self, scheduler: Scheduler, sessions: SessionTable, pending: PendingReports) -> None:
        self._scheduler = scheduler
        self._sessions = sessions
        self._pending = pending
        self._announcing: dict[Comm, asyncio.TimerHandle] = {}
        self._announced: dict[Comm, tuple[str, float]] = {}
        sessions.watch(away=self._away, back=self._back, ended=self._ended)

    def _away(self, comm: Comm) -> None:
        loop = asyncio.get_running_loop()
        self._announcing[comm] = loop.call_later(_QUIET_SECONDS, self._announce, comm, time.monotonic())

    def _announce(self, comm: Comm, since: float) -> None:
        del self._announcing[comm]
        if (client := self._client(comm)) is None:
            return
        self._announced[comm] = client, since
        futures = len(self._scheduler.clients[client].wants_what)
        grace = self._sessions.grace_of(comm)
        self._add(
            cluster_pb2.EVENT_TYPE_CLIENT_AWAY,
            f"Client {client} lost its connection; its {futures} futures are kept for {grace:.0f} s.",
            cluster_pb2.SEVERITY_WARNING,
        )

    def _back(self, comm: Comm) -> None:
        self._cancel_announcement(comm)
        if (announced := self._announced.pop(comm, None)) is not None:
            client, since = announced
            message = f"Client {client} is connected again after {time.monotonic() - since:.0f} s; it lost nothing."
            self._add(cluster_pb2.EVENT_TYPE_CLIENT_BACK, message, cluster_pb2.SEVERITY_INFO)

    def _ended(self, comm: Comm) -> None:
        self._cancel_announcement(comm)
        self._announced.pop(comm, None)

    def _cancel_announcement(self, comm: Comm) -> None:
        if (timer := self._announcing.pop(comm, None)) is not None:
            timer.cancel()

    def _client(self, comm: Comm) -> str | None:
        for client, stream in self._scheduler.client_comms.items():
            if stream.comm is comm:
                return client
        return None

    def _add(
        self, kind: cluster_pb2.EventType.ValueType, message: str, severity: cluster_pb2.Severity.ValueType
    ) -> None:
        self._pending.add_event(kind, severity, message)
