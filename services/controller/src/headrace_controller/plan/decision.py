"""What goes into a plan and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace_controller.backends.base import ProcessStatus
from headrace_controller.model import Event, Status, WorkerId

NewWorkerId = Callable[[str, int], WorkerId]
"""Makes the id of the n-th worker of a cluster from the name of its group and n."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the backend said when it could not start something, and when to ask it again."""

    message: str
    retry_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is seen of a cluster now.

    Attributes
    ----------
    processes
        The backend's processes of this cluster by name ("scheduler" or the id of a worker), ended ones included.
    routed
        Whether all live proxies have acknowledged the route.
    holder_gone_from
        From when on the replica that holds the agent's session counts as gone; None: it lives.
    watching_since
        Since when some controller has looked after this cluster; time before it counts against nothing.
    troubles
        What the backend could not start when it was last asked: by the name of the group, None for the scheduler.
    log_tail
        Last lines of a process's log, of those that a :class:`FetchLogTail` asked for; "" if there are none.
    """

    processes: Mapping[str, ProcessStatus] = field(default_factory=dict[str, ProcessStatus])
    routed: bool = False
    holder_gone_from: float | None = None
    watching_since: float = 0.0
    troubles: Mapping[str | None, Trouble] = field(default_factory=dict[str | None, Trouble])
    log_tail: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Numbers that the rules go by, set for a deployment. Times in seconds."""

    start_timeout: float = 60.0
    worker_start_timeout: float = 60.0
    scheduler_lost: float = 30.0
    worker_failure_limit: int = 3
    retry_first: float = 0.5
    retry_longest: float = 30.0
    ended_workers_kept: int = 50
    log_tail_bytes: int = 8192
    stop_again: float = 5.0  # between two attempts to stop what will not end
    holder_again: float = 5.0  # between two looks for a replica that is gone


@dataclass(frozen=True, slots=True)
class StartProcesses:
    """Start these, all of one group or the scheduler; those that run already are left alone."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopProcesses:
    """End these."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopAll:
    """End every process of the cluster."""


@dataclass(frozen=True, slots=True)
class FetchLogTail:
    """Read the end of this process's log and plan again at once, with it in `Seen.log_tail`."""

    process: str


Action = StartProcesses | StopProcesses | StopAll | FetchLogTail


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Save `status` with `events` first (if either says anything new), then carry out `actions`.

    `look_again` is the time, by the clock of `now`, at which to plan again although nothing has changed; None: never.
    """

    status: Status
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    look_again: float | None = None
