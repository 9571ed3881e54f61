"""A worker, as the controller has it."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.model.ids import WorkerId
from headrace_controller.model.states import WorkerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process exited. `code` is negative for a signal, None if unknown."""

    cause: ExitCause
    code: int | None = None
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker that the controller has decided to launch."""

    id: WorkerId
    group: str
    state: WorkerState = WorkerState.PENDING
    address: str = ""
    host: str = ""
    created: float = 0.0
    since: float = 0.0  # time at which `state` last changed
    joined: bool = False  # whether it ever was RUNNING
    message: str = ""
    exit: Exit | None = None
    wait: WaitReason | None = None  # why its process does not run yet
    leaving: ExitCause | None = None  # why others than headrace were ending its process when that was last seen
