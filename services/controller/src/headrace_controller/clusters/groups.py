"""Changes to the worker groups of a spec; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from headrace.errors import GroupNotFound
from headrace_controller.model import AdaptRange, Group, Spec


def with_group(spec: Spec, name: str, change: Callable[[Group], Group]) -> Spec:
    """The spec with one group changed."""
    if spec.group(name) is None:
        there = ", ".join(repr(group.name) for group in spec.groups)
        raise GroupNotFound(f"the cluster has no worker group {name[:80]!r}; it has {there}")
    return replace(spec, groups=tuple(change(group) if group.name == name else group for group in spec.groups))


def within(adapt: AdaptRange, wanted: int) -> int:
    """The nearest size within the bounds."""
    return max(adapt.minimum, min(adapt.maximum, wanted))
