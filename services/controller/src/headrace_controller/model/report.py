"""What the agent of a scheduler reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace_controller.model.ids import WorkerId
from headrace_controller.model.states import EndReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """What a worker's leaving cost, as its scheduler counted it, and how its process ended, as its nanny saw it.

    Attributes
    ----------
    memory_limit_bytes
        Limit that its process exceeded; 0 if it did not.
    exit_code
        Of its process, negative for a signal; 0 if unknown or as intended.
    """

    tasks_lost: int = 0
    results_lost: int = 0
    scattered_lost: int = 0
    memory_limit_bytes: int = 0
    exit_code: int = 0

    def __add__(self, later: Departure) -> Departure:
        return Departure(
            tasks_lost=self.tasks_lost + later.tasks_lost,
            results_lost=self.results_lost + later.results_lost,
            scattered_lost=self.scattered_lost + later.scattered_lost,
            memory_limit_bytes=later.memory_limit_bytes or self.memory_limit_bytes,
            exit_code=later.exit_code or self.exit_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the scheduler's agent reported last.

    Attributes
    ----------
    session, sequence
        Order the messages: an older one never overwrites a newer one.
    connected
        Whether the agent has a session; `changed` is the time at which that last changed.
    holder
        Replica that holds the session.
    joined
        Address of each worker that has joined.
    retired
        Workers whose data has moved; kept until their records are closed.
    departures
        What each worker that left otherwise cost; kept until its loss is recorded.
    closing
        Why the scheduler is about to end by itself; None while it is not.
    silent_since
        Time since which the scheduler's event loop gives no sign of life although its agent is connected; None while it
        does.
    clients, idle_since
        Connected clients; time since which the scheduler is idle, None while it is busy.
    route_version
        Version of the route that this report wrote; set by the store.
    """

    session: int = 0
    sequence: int = 0
    connected: bool = False
    changed: float = 0.0
    holder: str = ""
    scheduler_address: str = ""
    dashboard_address: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    joined: Mapping[WorkerId, str] = field(default_factory=dict[WorkerId, str])
    retired: frozenset[WorkerId] = frozenset()
    departures: Mapping[WorkerId, Departure] = field(default_factory=dict[WorkerId, Departure])
    closing: EndReason | None = None
    silent_since: float | None = None
    clients: int = 0
    idle_since: float | None = None
    route_version: str = ""
