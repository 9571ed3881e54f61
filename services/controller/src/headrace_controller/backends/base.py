"""The seam to backends: what launches processes and reports what runs.

A backend knows nothing of Dask, numbers of workers or limits. Every process carries the deployment's id, its cluster's
id and the generation that it was launched for, so that all of them are found again with the store empty.

A backend is a distribution of its own, found by the entry point group ``headrace.backends``: a :class:`Plugin`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from headrace.option_types import OptionValue
from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.contact import ContactRecord
from headrace_controller.backends.process import ProcessKey, ProcessSpec, ProcessStatus, Role
from headrace_controller.options.catalogue import Option

FOLLOWED_AT_ONCE = 100
"""Number of logs that are followed at once where all of a cluster are followed; the others follow as these end."""


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Whole lines of one process's log. `position` is opaque; reading can continue after these lines with it."""

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
    logs_go_on
        Whether a process that is started again appends to its log; otherwise its log begins empty.
    keeps_exits
        Whether exit code and cause are reported after a restart of the controller.
    reports_signals
        Whether a process that was killed by a signal has the negative number of the signal as its exit code.
    reports_out_of_memory
        Whether a memory kill is reported as ``OUT_OF_MEMORY``.
    warm
        Whether processes may be forked or taken from standby instead of started cold.
    suspend
        Whether processes can be suspended.
    """

    stop_seconds: float
    notice_seconds: float
    keeps_logs: bool = True
    logs_go_on: bool = True
    keeps_exits: bool = True
    reports_signals: bool = True
    reports_out_of_memory: bool = True
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
        """Releases what it holds. Processes keep running."""
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

        Processes in `positions` are read from there, the others from `tail_lines` before their end. A position that
        the backend cannot use counts as none.
        """
        ...

    def network(self, cluster: str, process: str) -> Network:
        """How a process of a cluster is reached."""
        ...

    async def check_address(self, cluster: str, process: str, address: str) -> None:
        """Raises `AddressRefused` unless the process itself listens on an address that its agent reported.

        An agent runs among its tenant's code and may lie, and Envoy connects to what it reports. A backend whose
        processes run on other hosts accepts IP addresses of the very process only, see `check_remote_address`.
        """
        ...

    async def forget(self, cluster: str) -> None:
        """Removes what is kept of an ended cluster: logs, exit codes, manifest."""
        ...


@runtime_checkable
class Warms(Protocol):
    """Optional: prepares processes in advance, after it is opened."""

    async def warm(self) -> None:
        """Returns once the first process starts as fast as later ones, or after a time-out."""
        ...


@runtime_checkable
class Manifests(Protocol):
    """Optional: keeps manifests, so that clusters can be adopted with the store empty."""

    async def manifest(self, cluster: str) -> bytes | None:
        """Returns the manifest of a cluster whose scheduler runs, or None."""
        ...

    async def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifest of each cluster whose scheduler runs, by cluster id."""
        ...

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        """Replaces a manifest atomically; does nothing for a cluster whose scheduler does not run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """Which process sent a token of its platform.

    Attributes
    ----------
    cluster, process
        Both are empty for a process in standby, which belongs to no cluster yet.
    launch
        Names this very process: no other one has it, not even its replacement of the same name.
    launched
        Time at which it was launched for its cluster, in seconds since the epoch.
    """

    cluster: str
    process: str
    launch: str
    launched: float


@runtime_checkable
class Attests(Protocol):
    """Optional: processes prove who they are with a token of their platform, a JWT, in place of `agent_token`."""

    async def attest(self, token: str) -> Attestation:
        """Returns whose token it is.

        Anybody can send anything here: what it costs is bounded, and nothing in the token is believed before the
        platform has verified it. Raises `TokenInvalid` or `TooManyRequests`; `BackendError` if it may be repeated.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a process in standby becomes."""

    key: ProcessKey
    role: Role
    generation: int


@runtime_checkable
class StandBys(Protocol):
    """Optional: keeps processes ready that belong to nobody, and gives them to clusters instead of launching others.

    `start` gives a process to a cluster if it is what would be launched. It never returns: when the cluster ends, so
    does the process, and another one takes its place.
    """

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None:
        """Keeps processes ready that are launched like these, and ends those that are like none of them.

        A pattern is the scheduler or a worker of a profile with its default options, of nobody. How many are kept, the
        backend's own settings say. None: another controller of the deployment does it from now on.
        """
        ...

    async def stand_by(self, launch: str) -> Assignment:
        """Counts a process in standby as ready from now on; returns what it becomes, once that is decided.

        Raises `TokenInvalid` for a launch that is none of a process in standby, `BackendError` for one that is not
        known yet.
        """
        ...


@runtime_checkable
class Profiled(Protocol):
    """Optional: profiles have settings of this backend (``profiles.<key>.settings``), checked by `ProfileSettings`."""

    async def check_profiles(self, settings: Mapping[str, Any]) -> None:
        """Raises `UnfitProfiles` if processes could not be launched with these settings of profiles, by their keys.

        Raises `BackendError` if that cannot be found out now. Changes nothing.
        """
        ...

    def use_profiles(self, settings: Mapping[str, Any]) -> None:
        """Launches with these settings of profiles, by their keys, from now on; also before it is opened."""
        ...


@runtime_checkable
class FixesOptions(Protocol):
    """Optional: some of what the settings of a profile say holds for a cluster's whole life, such as an image."""

    def fixed_options(self, profile: str) -> Mapping[str, Mapping[str, OptionValue]]:
        """Returns values of the backend's own options, or of other names, as the settings of a profile are now.

        By role, and by ``worker/{group}`` for groups of workers that differ. They are kept with each cluster that is
        created, and its processes are launched with them where no user has given a value.
        """
        ...


@runtime_checkable
class Locates(Protocol):
    """Optional: what was fixed for a cluster says where its processes are found, such as in which namespace."""

    def locate(self, cluster: str, fixed: Mapping[str, Mapping[str, OptionValue]]) -> None:
        """Looks for the processes of a cluster where they are from now on, also before the backend is opened.

        `fixed` is what `fixed_options` returned at its creation; empty once the cluster is gone.
        """
        ...

    def located(self, cluster: str) -> bool:
        """Whether it has looked there since it was opened. Before, nothing is known of the cluster's processes."""
        ...


@runtime_checkable
class Remote(Protocol):
    """Optional: the platform may be away by itself while processes run. No time-out of a start counts that time."""

    @property
    def contact(self) -> ContactRecord:
        """Whether the platform answers, also before the backend is opened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What every backend knows of the deployment.

    Attributes
    ----------
    id
        Marks the processes of this deployment.
    agent_endpoint
        gRPC target of the controller for agents that run on the controller's own machine.
    keys
        Keys for backends, made from those of the deployment. A backend may mark what it has made with the first, and
        know marks of any, so that nobody else can make what it believes to be its own.
    """

    id: str
    agent_endpoint: str
    keys: Sequence[bytes] = field(default=(), repr=False)


class Plugin(Protocol):
    """An entry of the entry point group ``headrace.backends``, usually a module.

    Where profiles have settings of the backend, it also has ``ProfileSettings``, their model (`Profiled`).
    """

    Settings: ClassVar[type[BaseModel]]
    """The backend's settings; read from ``backends.<name>`` of the controller's settings."""

    def options(self, settings: Any) -> Sequence[Option]:
        """Returns the backend's own options, besides those that every worker has."""
        ...

    def create(self, settings: Any, deployment: Deployment) -> Backend:
        """Creates the backend; it is opened later."""
        ...


class BackendError(Exception):
    """The backend failed. The message says what to do.

    Parameters
    ----------
    message
        For people.
    cause
        Why processes cannot be started as they are asked for. A cluster whose scheduler it concerns fails at once, and
        workers count as failed: after ``START_FAILED`` others are started in their place, after other causes not soon.
        None if the call may be repeated.
    wait
        What a launch waits for, and will have some time: it is tried again for as long as a process may be pending.
        None if that is unknown: then the time-out of the start binds.
    """

    def __init__(self, message: str, *, cause: ExitCause | None = None, wait: WaitReason | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.wait = wait


class AddressRefused(Exception):
    """A process does not listen on an address that its agent reported. The message says why, as "it ..."."""


class UnfitProfiles(Exception):
    """No processes could be launched with settings of profiles: the path of each fault, from the key on, and why."""

    def __init__(self, faults: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("\n".join(f"{'.'.join(map(str, path))}: {reason}" for path, reason in faults))
        self.faults = faults
