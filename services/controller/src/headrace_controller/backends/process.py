"""A process of a cluster, as a backend launches and sees it: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace.v1.enums import ExitCause, WaitReason

if TYPE_CHECKING:  # the zygote of the local backend starts sooner without it
    from headrace_controller.model import Resources

SCHEDULER = "scheduler"


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
    backend
        Name of the backend that launches it.
    role
        Scheduler or worker.
    generation
        Generation of the cluster's spec that it is launched for.
    owner
        User id of the cluster's owner.
    agent_token
        Token with which its agent enrols, once; valid for this process of this cluster only.
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
        What the controller needs to adopt the cluster with its store empty; opaque and sealed. The backend keeps it
        with the scheduler.
    """

    key: ProcessKey
    backend: str
    role: Role
    generation: int
    owner: str
    agent_token: str = field(repr=False)
    agent_ca_pem: str = ""
    resources: Resources
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
        For people, what the other fields leave out, such as the command that was not found, the nodes that have no
        room or the image that is pulled; often empty. It follows a colon.
    wait
        Why a PENDING process does not run yet; None if that is unknown.
    leaving
        Why others than headrace are ending a RUNNING process; None if nobody is. It hands its data over meanwhile.
    started
        Time at which it started, in seconds since the epoch, by the clock of its machine; 0 if it has not.
    runs_since
        Time since which the controller has seen it run, by its own clock, which all time-outs go by. Backends leave it.
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
    wait: WaitReason | None = None
    leaving: ExitCause | None = None
    started: float = 0.0
    runs_since: float = 0.0
    host: str = ""
