"""Positions in the lives of clusters and workers, why clusters end, and how severe events are."""

from __future__ import annotations

from enum import StrEnum

from headrace.open_enum import OpenEnum


class Phase(StrEnum):
    """Position in a cluster's life. A record in one that this release does not know is set aside."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self in {Phase.STOPPED, Phase.FAILED}


class EndReason(OpenEnum):
    """Why a cluster ended."""

    USER = "USER"
    IDLE = "IDLE"
    NO_CLIENT = "NO_CLIENT"
    LIFETIME = "LIFETIME"
    LIMIT = "LIMIT"
    BUDGET = "BUDGET"
    START_TIMEOUT = "START_TIMEOUT"
    SCHEDULER_LOST = "SCHEDULER_LOST"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    BACKEND_ERROR = "BACKEND_ERROR"
    WORKERS_FAILED = "WORKERS_FAILED"
    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    IMAGE_UNAVAILABLE = "IMAGE_UNAVAILABLE"
    REFUSED = "REFUSED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    EVICTED = "EVICTED"
    PREEMPTED = "PREEMPTED"
    NODE_LOST = "NODE_LOST"
    DELETED = "DELETED"

    @property
    def failure(self) -> bool:
        """Whether the cluster is FAILED afterwards, rather than STOPPED."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        EndReason.START_TIMEOUT,
        EndReason.SCHEDULER_LOST,
        EndReason.OUT_OF_MEMORY,
        EndReason.BACKEND_ERROR,
        EndReason.WORKERS_FAILED,
        EndReason.QUEUE_TIMEOUT,
        EndReason.IMAGE_UNAVAILABLE,
        EndReason.REFUSED,
        EndReason.QUOTA_EXCEEDED,
        EndReason.EVICTED,
        EndReason.PREEMPTED,
        EndReason.NODE_LOST,
        EndReason.DELETED,
    }
)


class WorkerState(StrEnum):
    """Position in a worker's life. A record with one that this release does not know is set aside."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETIRING = "RETIRING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"

    @property
    def alive(self) -> bool:
        """Whether it counts towards its group's size."""
        return self in {WorkerState.PENDING, WorkerState.RUNNING}

    @property
    def ended(self) -> bool:
        """Whether its process must not run."""
        return self in {WorkerState.CLOSED, WorkerState.FAILED}


class Severity(OpenEnum):
    """Severity of an event."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
