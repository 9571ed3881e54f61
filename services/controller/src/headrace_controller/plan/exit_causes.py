"""What follows from why a process ended, for a cluster and for its workers."""

from __future__ import annotations

from headrace.v1.enums import ExitCause
from headrace_controller.model import EndReason

CANNOT_START = frozenset({ExitCause.IMAGE_UNAVAILABLE, ExitCause.REFUSED, ExitCause.QUOTA_EXCEEDED})
"""Nothing has run, and it is no use to try the same again soon."""

ENDED_BY_OTHERS = frozenset({ExitCause.EVICTED, ExitCause.PREEMPTED, ExitCause.NODE_LOST, ExitCause.DELETED})
"""Neither headrace nor the process itself ended it."""

_REASONS = {
    ExitCause.OUT_OF_MEMORY: EndReason.OUT_OF_MEMORY,
    ExitCause.IMAGE_UNAVAILABLE: EndReason.IMAGE_UNAVAILABLE,
    ExitCause.REFUSED: EndReason.REFUSED,
    ExitCause.QUOTA_EXCEEDED: EndReason.QUOTA_EXCEEDED,
    ExitCause.EVICTED: EndReason.EVICTED,
    ExitCause.PREEMPTED: EndReason.PREEMPTED,
    ExitCause.NODE_LOST: EndReason.NODE_LOST,
    ExitCause.DELETED: EndReason.DELETED,
}


def exit_cause(seen: ExitCause | None, announced: ExitCause | None) -> ExitCause | None:
    """The cause of an exit. What ends in order after others have announced its end looks as if it ended by itself.

    Or as if headrace had ended it, which stops what has handed its data over.
    """
    return announced if announced is not None and seen in {None, ExitCause.EXITED, ExitCause.STOPPED} else seen


def end_reason(cause: ExitCause | None, otherwise: EndReason) -> EndReason:
    """Why a cluster ends whose scheduler ended for this cause."""
    return otherwise if cause is None else _REASONS.get(cause, otherwise)
