"""What processes may use, what clusters are promised, and what bounds it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from headrace_controller.model.ids import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a process may use. `memory_bytes` 0 means no limit."""

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0


class Demand(Counter[str]):
    """What a cluster is promised at most, with the sizes that its groups have now: amounts by resource."""


class Limits(dict[str, int]):
    """Bounds of a :class:`Demand` by resource. One that is missing is not bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitException:
    """A limit that an admin has set for a while, instead of the policy's.

    Attributes
    ----------
    subject
        ``users/{user}`` or ``groups/{group}``.
    begun, ends
        Seconds since the epoch.
    by
        The admin.
    """

    subject: str
    resource: str
    bound: int
    begun: float
    ends: float
    by: UserId
    reason: str = ""
