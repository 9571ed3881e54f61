"""A wait for room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A wait for room: of a cluster to start, or of more workers of one that has started. The store writes it.

    Attributes
    ----------
    turn
        Its place in the order of the queue: lower ones come first.
    subject, resource, most, used, asked
        The limit that it waits for: whose, of what, and how much was used when it was last tried.
    timeout
        Seconds after which it gives up. None means never.
    never
        Whether that limit is below what it asks for, so that no wait can help; of workers: below a single one more.
    admitted
        Time at which it got its room to start. None while it waits for that.
    granted
        By group, the number of workers that it has while others of the group wait. Empty if no workers wait.
    """

    since: float
    turn: float
    subject: str
    resource: str
    most: int
    used: int
    asked: int
    timeout: float | None = None
    never: bool = False
    admitted: float | None = None
    granted: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def waits(self) -> bool:
        """Whether it still waits."""
        return self.admitted is None or bool(self.granted)
