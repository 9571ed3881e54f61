"""The inputs and outputs of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.contact import Contact
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.model import Event, Status, WorkerId, WorkerRecord
from headrace_controller.plan.findings import Finding

NewWorkerId = Callable[[str, int], WorkerId]
"""Makes the id of the n-th worker of a cluster from the name of its group and n."""


@dataclass(frozen=True, slots=True)
class StartError:
    """Why the backend could not launch something.

    Attributes
    ----------
    retry_at
        Time from which it may be asked again.
    cause
        Why it never will launch `processes`, which are all that it was asked for; None if it may be asked again.
    wait
        What the launch waits for; None if that is unknown.
    since
        Time since which the launch has failed in this way.
    """

    message: str
    retry_at: float
    cause: ExitCause | None = None
    processes: frozenset[str] = frozenset()
    wait: WaitReason | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteState:
    """Whether every live proxy has acknowledged the route; names of the proxies that refused it."""

    routed: bool = False
    rejected_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """How many clusters that wait for the same are before one, and in how many seconds it may be admitted, if known."""

    before: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is seen of a cluster now.

    Attributes
    ----------
    processes
        The backend's processes of this cluster by name ("scheduler" or the id of a worker), exited ones included.
    route
        What the proxies answered to the cluster's route.
    holder_gone_from
        Time from which the replica that holds the agent's session counts as gone. None while it lives.
    watching_since
        Time since which some controller has looked after this cluster; no time-out counts time before it.
    start_errors
        What the backend could not launch when it was last asked, by name of the group; None is the scheduler.
    contact
        Whether the platform that runs the processes answers. None if it is not one that may be away.
    findings
        What rules of culling find.
    place
        Its place in the queue. None if it does not wait.
    log_tail
        Last lines of the logs that a :class:`FetchLogTail` asked for, by process; "" if there are none.
    """

    processes: Mapping[str, ProcessStatus] = field(default_factory=dict[str, ProcessStatus])
    route: RouteState = RouteState()
    holder_gone_from: float | None = None
    watching_since: float = 0.0
    start_errors: Mapping[str | None, StartError] = field(default_factory=dict[str | None, StartError])
    contact: Contact | None = None
    findings: tuple[Finding, ...] = ()
    place: Place | None = None
    log_tail: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Numbers of a deployment that the rules use. Times in seconds.

    Attributes
    ----------
    start_timeout
        Time within which a cluster must be usable, not counting the time that its scheduler waits to run or that its
        platform is away. What keeps the scheduler from being launched, and nobody knows why, has this time, too.
    pending_timeout
        Time for which a scheduler may wait to run: for room, a node or its image, or for its platform to answer.
    worker_start_timeout
        Time within which a worker must join its scheduler, counted in the same way.
    scheduler_lost
        Time without agent contact after which a scheduler counts as lost.
    scheduler_silence
        Time after which a scheduler whose event loop gives no sign of life counts as not answering.
    worker_failure_limit
        Consecutive failed launches of each group after which a cluster without running workers fails.
    retry_first, retry_longest
        Pause after a group's first failed launch; it doubles with each further one up to the longest.
    ended_workers_kept
        Ended workers that stay in the record.
    log_tail_bytes
        Bytes of a log that a failed cluster keeps.
    stop_retry
        Time after which processes that still run are stopped again.
    loss_wait
        Time that the event of a lost worker waits for what its scheduler counted and how its process exited.
    exit_wait
        Time that the event of a worker that left unasked, and has handed its data over, waits for how its process
        exited: the platform may end it and say so only afterwards.
    """

    start_timeout: float = 60.0
    pending_timeout: float = 1800.0
    worker_start_timeout: float = 60.0
    scheduler_lost: float = 30.0
    scheduler_silence: float = 30.0
    worker_failure_limit: int = 3
    retry_first: float = 0.5
    retry_longest: float = 30.0
    ended_workers_kept: int = 50
    log_tail_bytes: int = 8192
    stop_retry: float = 5.0
    loss_wait: float = 1.0
    exit_wait: float = 15.0


@dataclass(frozen=True, slots=True)
class StartProcesses:
    """Launch these, all of one group or the scheduler; those that run already are left alone."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopProcesses:
    """Terminate these."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopAll:
    """Terminate every process of the cluster."""


@dataclass(frozen=True, slots=True)
class FetchLogTail:
    """Read the end of this process's log, then plan again at once with it in `Seen.log_tail`."""

    process: str


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """Have no worker in any group, for this reason; adaptive groups grow again with their load."""

    why: str


Action = StartProcesses | StopProcesses | StopAll | FetchLogTail | ScaleToZero


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Save `status`, `workers` and `events` first if they differ from the record, then carry out `actions`.

    Attributes
    ----------
    status, workers
        What is unchanged is the very object of the record: whole values and each worker.
    requeue_at
        Time, by the clock of `now`, at which to plan again although nothing has changed. None means never.
    """

    status: Status
    workers: Mapping[WorkerId, WorkerRecord] = field(default_factory=dict[WorkerId, WorkerRecord])
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_at: float | None = None
