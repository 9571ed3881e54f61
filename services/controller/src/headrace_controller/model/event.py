"""Something that happened to a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.v1.enums import EventType, ExitCause, WaitReason
from headrace_controller.model.states import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a cluster. The store gives it its id.

    Attributes
    ----------
    wait
        Why the processes that it tells of wait.
    exit_cause
        Why the processes that it tells of have ended, are being ended or cannot start.
    """

    type: EventType
    message: str
    severity: Severity = Severity.INFO
    time: float = 0.0
    id: str = ""
    wait: WaitReason | None = None
    exit_cause: ExitCause | None = None
