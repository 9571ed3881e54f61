"""The seam to backends: what launches processes and reports what runs.

A backend knows nothing of Dask, numbers of workers or limits. Every process carries the deployment's id, its cluster's id
and the generation that it was launched for, so that all of them are found again with the store empty.

A backend is a distribution of its own, found by the entry point group ``headrace.backends``: a :class:`Plugin`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from headrace.v1.enums import ExitCause
from headrace_controller.model import Resources
from headrace_controller.options.catalogue import Option

SCHEDULER = "scheduler"

__all__ = [
    "SCHEDULER",
    "Backend",
    "BackendError",
    "Capabilities",
    "ExitCause",
    "LogPiece",
    "Manifests",
    "Network",
    "Plugin",
    "ProcessKey",
    "ProcessSpec",
    "ProcessState",
    "ProcessStatus",
    "Resources",
    "Role",
]


class Role(StrEnum):
    """Role of a process."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, order=True)
class ProcessKey:
    """Names a process: its cluster's id and, in that, "scheduler" or the id of a worker."""

    cluster: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to launch.

    Attributes
    ----------
    key
        Its name. Launching one that runs already changes nothing.
    role
        Scheduler or worker.
    generation
        Generation of the cluster's spec that it is launched for.
    owner
        User id of the cluster's owner.
    agent_token
        Token that its agent sends to the controller; valid for this cluster only.
    agent_ca_pem
        Certificate authority to check the agent endpoint with; empty for a unix socket.
    resources
        What it may use.
    environment
        Environment variables to set.
    labels
        For people and cost reports: ``owner``, ``profile``, ``group`` and each tag as ``tag/<key>``.
    settings
        Values of the backend's own options by key, checked by them.
    manifest
        What the controller needs to adopt the cluster with its store empty; opaque, sealed. The backend keeps it with the
        scheduler.
    """

    key: ProcessKey
    role: Role
    generation: int
    owner: str
    agent_token: str = field(repr=False)
    agent_ca_pem: str = ""
    resources: Resources = Resources()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    manifest: bytes = b""


class ProcessState(StrEnum):
    """Position in a process's life, as the backend sees it."""

    PENDING = "pending"  # accepted, waits for room, an image or a node
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """What the backend sees of a process.

    Attributes
    ----------
    exit_code
        Negative for a signal; None if unknown or still running.
    exit_cause
        Why it exited; None while it has not.
    message
        Sentence for people.
    started
        Time at which it started, in seconds since the epoch; 0 if it has not.
    host
        Host that it runs on; empty if unknown.
    """

    key: ProcessKey
    role: Role
    generation: int
    state: ProcessState
    exit_code: int | None = None
    exit_cause: ExitCause | None = None
    message: str = ""
    started: float = 0.0
    host: str = ""


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Whole lines of one process's log. `position` is opaque: reading may go on after these lines with it."""

    process: str
    lines: bytes
    position: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a process is reached.

    Attributes
    ----------
    agent_endpoint
        gRPC target of the controller for the process's agent.
    listen_host
        Address that Dask listens on; empty means Dask's default.
    dns_names, ip_addresses
        Names for the process's certificate, besides the cluster's own.
    """

    agent_endpoint: str
    listen_host: str = ""
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend promises; the contract suite holds it to this.

    Attributes
    ----------
    stop_seconds
        Time within which a process that ignores its termination is gone.
    notice_seconds
        Time within which an exit is reported in the changes.
    keeps_logs
        Whether logs can be read after a process has exited.
    keeps_exits
        Whether exit code and cause are reported after a restart of the controller.
    tells_out_of_memory
        Whether a memory kill is reported as ``OUT_OF_MEMORY``.
    warm
        Whether processes may be forked or taken from standby instead of started cold.
    suspend
        Whether processes can be suspended.
    """

    stop_seconds: float
    notice_seconds: float
    keeps_logs: bool = True
    keeps_exits: bool = True
    tells_out_of_memory: bool = True
    warm: bool = False
    suspend: bool = False


class Backend(Protocol):
    """Launches processes. All methods are safe to repeat; all raise `BackendError` if the backend itself fails."""

    @property
    def capabilities(self) -> Capabilities:
        """What it promises."""
        ...

    async def open(self) -> None:
        """Prepares the backend, and finds the processes of an earlier run."""
        ...

    async def close(self) -> None:
        """Releases what it holds. Processes go on running."""
        ...

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Launches processes; returns when the backend has accepted them and reported that in its changes.

        One that cannot start appears as EXITED.
        """
        ...

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        """Terminates processes of a cluster, all by default; kills those that ignore it, and waits for their end."""
        ...

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        """Returns what runs and what has exited but was not forgotten, of one cluster or of all."""
        ...

    def changes(self) -> AsyncIterator[ProcessStatus]:
        """Streams each change of state from the moment of the call on; ends when the backend is closed."""
        ...

    def logs(
        self,
        cluster: str,
        process: str | None = None,
        *,
        tail_lines: int | None = None,
        follow: bool = False,
        positions: Mapping[str, str] | None = None,
    ) -> AsyncIterator[LogPiece]:
        """Streams logs, also of exited processes; with `follow` until the caller stops reading.

        Processes named in `positions` are read from there on. Raises ``ValueError`` for a position that it did not give.
        """
        ...

    def network(self, cluster: str, process: str) -> Network:
        """How a process of a cluster is reached."""
        ...

    async def forget(self, cluster: str) -> None:
        """Removes what is kept of an ended cluster: logs, exit codes, manifest."""
        ...


@runtime_checkable
class Manifests(Protocol):
    """Optional: keeps manifests, so that clusters can be adopted with the store empty."""

    async def manifest(self, cluster: str) -> bytes | None:
        """Returns the manifest of a cluster whose scheduler runs, or None."""
        ...

    async def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifest of each cluster whose scheduler runs."""
        ...

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        """Replaces a manifest atomically; does nothing for a cluster whose scheduler does not run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What every backend is told of the deployment.

    Attributes
    ----------
    id
        Marks the processes of this deployment.
    agent_endpoint
        gRPC target of the controller for agents that run on the controller's own machine.
    """

    id: str
    agent_endpoint: str


class Plugin(Protocol):
    """An entry of the entry point group ``headrace.backends``, usually a module."""

    Settings: ClassVar[type[Any]]
    """Pydantic model of the backend's settings; read from ``backends.<name>`` of the controller's settings."""

    def options(self, settings: Any) -> Sequence[Option]:
        """Returns the backend's own options, besides those that every worker has."""
        ...

    def create(self, settings: Any, deployment: Deployment) -> Backend:
        """Creates the backend; it is opened later."""
        ...


class BackendError(Exception):
    """The backend failed; the call may be repeated. The message says what to do."""
