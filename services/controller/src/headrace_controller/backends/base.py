"""What a backend is: something that runs processes and tells what runs.

A backend knows nothing of Dask, worker counts or quotas. Every process carries the deployment's id, its cluster's id
and the generation that it was started for, so that all of them are found again with the store empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

SCHEDULER = "scheduler"


class Role(StrEnum):
    """What a process is."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, order=True)
class ProcessKey:
    """Names a process: its cluster's id and, in that, "scheduler" or the id of a worker."""

    cluster: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to run.

    Attributes
    ----------
    key
        Its name. Starting one that runs already changes nothing.
    role
        Scheduler or worker.
    generation
        Generation of the cluster's spec that it is started for.
    owner
        User id of the cluster's owner.
    agent_token
        What its agent shows to the controller; good for this cluster only.
    agent_endpoint
        gRPC target of the controller for agents.
    agent_ca_pem
        Certificate authority to check the endpoint with; empty for a unix socket.
    options
        Checked options of the cluster, with those of the worker's group over them.
    environment
        Environment variables to set.
    manifest
        What the controller needs to adopt the cluster with its store empty; opaque, sealed. The backend
        keeps it with the scheduler.
    """

    key: ProcessKey
    role: Role
    generation: int
    owner: str
    agent_token: str = field(repr=False)
    agent_endpoint: str
    agent_ca_pem: str = ""
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    manifest: bytes = b""


class ProcessState(StrEnum):
    """Where a process is in its life, as the backend sees it."""

    PENDING = "pending"  # accepted, waits for room, an image or a node
    RUNNING = "running"
    EXITED = "exited"


class ExitCause(StrEnum):
    """Why a process ended, as far as the backend can tell."""

    NONE = "none"  # it has not
    STOPPED = "stopped"  # as asked
    EXITED = "exited"  # by itself, or it was killed from outside
    OUT_OF_MEMORY = "out_of_memory"
    START_FAILED = "start_failed"  # it never ran


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """What the backend sees of a process."""

    key: ProcessKey
    role: Role
    generation: int
    state: ProcessState
    exit_code: int | None = None  # negative: the signal; None: unknown or still running
    cause: ExitCause = ExitCause.NONE
    message: str = ""  # a sentence for people
    started: float = 0.0  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Whole lines of one process's log."""

    process: str
    lines: bytes


class Backend(Protocol):
    """Runs processes. All methods are safe to repeat; all raise `BackendError` if the backend itself is in trouble."""

    async def open(self) -> None:
        """Gets ready; finds what an earlier run has left running."""
        ...

    async def close(self) -> None:
        """Lets go. What runs, goes on running."""
        ...

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Starts processes; returns when the backend has taken them over and told that in its changes.

        One that cannot start appears as EXITED.
        """
        ...

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        """Ends processes of a cluster, all by default; asks first, kills within a second, waits for their end."""
        ...

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        """Returns what runs and what has exited but was not forgotten; of one cluster or of all."""
        ...

    def changes(self) -> AsyncIterator[ProcessStatus]:
        """Streams each change of state from the moment of the call on; ends when the backend is closed."""
        ...

    def logs(
        self, cluster: str, process: str | None = None, *, tail_lines: int | None = None, follow: bool = False
    ) -> AsyncIterator[LogPiece]:
        """Streams logs, also of processes that have ended; with `follow` until the caller stops reading."""
        ...

    async def forget(self, cluster: str) -> None:
        """Removes what is kept of an ended cluster: logs, exit codes, manifest."""
        ...


@runtime_checkable
class Manifests(Protocol):
    """Optional: keeps manifests, so that clusters can be adopted with the store empty."""

    async def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifest of each cluster whose scheduler runs."""
        ...

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        """Keeps a newer manifest, wholly or not at all; does nothing for a cluster whose scheduler does not run."""
        ...


class BackendError(Exception):
    """The backend is in trouble; the call may be repeated. The message says what to do."""
