"""What clients want of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.access import Share
from headrace.option_types import OptionValue

DEFAULT_GROUP = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptRange:
    """Range of adaptive scaling. `maximum` None means as many as the limits allow."""

    minimum: int
    maximum: int | None = None

    def clamp(self, size: int) -> int:
        """The size within the range that is closest."""
        size = max(self.minimum, size)
        return size if self.maximum is None else min(self.maximum, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workers of one shape; `options` differ from the cluster's. `size` is within `adapt` where that is set."""

    name: str = DEFAULT_GROUP
    size: int = 0
    adapt: AdaptRange | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What clients want.

    Attributes
    ----------
    profile
        Key of the profile; resolved when the cluster is created, never empty afterwards.
    backend
        Name of the profile's backend when the cluster was created. Empty for one of an earlier release.
    fixed
        What the backend holds for the cluster's life, as the settings of the profile were when the cluster was created:
        by role, and by ``worker/{group}`` for groups of workers that differ. Options that a user has given come first.
    lifetime
        Seconds after its creation at which the cluster is stopped. None means never.
    stop
        Whether a client asked to stop it.
    touched
        Time at which a user last changed the cluster; it counts as activity.
    keep_until, kept
        Time until which a user has put culling off, and the seconds for which users have done so in all.
    cull_before
        Culling does at once what it has warned of before this time, because a user asked for it.
    """

    alias: str = ""
    profile: str = ""
    backend: str = ""
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    fixed: Mapping[str, Mapping[str, OptionValue]] = field(default_factory=dict[str, Mapping[str, OptionValue]])
    groups: tuple[Group, ...] = (Group(),)
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    lifetime: float | None = None
    shares: tuple[Share, ...] = ()
    stop: bool = False
    touched: float = 0.0
    keep_until: float | None = None
    kept: float = 0.0
    cull_before: float = 0.0

    def group(self, name: str) -> Group | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == name), None)
