"""What rules of culling find about a cluster, and what follows if nothing changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace_controller.model import Cluster, EndReason


class CullAction(StrEnum):
    """What culling does to a cluster."""

    STOP = "stop"
    SCALE_TO_ZERO = "scale_to_zero"

    @property
    def done(self) -> str:
        """What has then been done to it, for sentences."""
        return "stopped" if self is CullAction.STOP else "scaled to zero workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is done to a cluster, after a warning, if nothing changes.

    Attributes
    ----------
    rule
        "idle", "nobody_connected", "lifetime", "budget", or "rules/{name}".
    reason
        Of the end, if it is stopped.
    due
        Time from which it may be done. None: the state cannot be known now, so nothing may happen on its account.
    warn
        Seconds before it at which the users are warned.
    why
        The state, to continue "because", such as "it has been idle for 25 min". If `due` is None, why it is not known.
    advice
        Sentence that says what users can do about it.
    held_back_by
        What holds it back, or would, for administrators; "" if nothing does.
    signal, sampled
        What was measured, for administrators, and when; "" and None if the rule needs no measurement.
    """

    rule: str
    reason: EndReason
    action: CullAction = CullAction.STOP
    due: float | None
    warn: float
    why: str
    advice: str = ""
    held_back_by: str = ""
    signal: str = ""
    sampled: float | None = None

    @property
    def key(self) -> str:
        """Names it among the warnings of its cluster."""
        return f"{self.rule}:{self.action}"

    def times(self, warned: float | None, now: float) -> tuple[float, float] | None:
        """Return when the users are warned and when it is done at the earliest; None if that cannot be known now.

        Parameters
        ----------
        warned
            Time at which they were warned, if they were.
        """
        if warned is None:
            if self.due is None:
                return None
            warned = max(self.due - self.warn, now)
        return warned, max(self.due or 0.0, warned + self.warn)


def has_workers(cluster: Cluster) -> bool:
    """Whether a cluster has workers or may get some without a wish of its user."""
    return any(cluster.desired(group) or (group.adapt and group.adapt.minimum) for group in cluster.spec.groups)
