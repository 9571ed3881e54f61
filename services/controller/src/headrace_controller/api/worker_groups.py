"""Worker groups of requests, and changes of a cluster's groups. Sizes are clamped here, where they enter. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headrace.errors import MAX_VIOLATIONS, GroupNotFound, Violation
from headrace.option_protos import value_from_proto
from headrace.option_types import OptionValue
from headrace.v1 import cluster_pb2 as pb
from headrace.v1 import option_value_pb2
from headrace_controller.api.fields import LABEL, LABEL_RULE, at_least_zero, shown
from headrace_controller.model import AdaptRange, Cluster, Group
from headrace_controller.options.catalogue import Options

_MAX_GROUPS, _MAX_OPTIONS = 64, 64

Checked = tuple[Mapping[str, OptionValue], list[Violation]]
"""The checked options of a group, and what is wrong with them."""


def check_options(
    messages: Sequence[pb.WorkerGroup],
    options: Options,
    field: str,
    cluster: Mapping[str, OptionValue],
    existing: Sequence[Group] = (),
) -> list[Checked]:
    """Check the options of the groups of a request. `cluster` is what the cluster itself has."""
    old = {group.name: group for group in existing}
    checked: list[Checked] = []
    for n, message in enumerate(messages[:_MAX_GROUPS]):
        here = f"{field}[{n}].options"
        if (kept := old.get(message.name)) is not None and _keeps(message, kept):
            checked.append((kept.options, []))
        else:
            checked.append(read_options(message.options, options, here, cluster=cluster))
    return checked


def read_groups(
    messages: Sequence[pb.WorkerGroup], checked: Sequence[Checked], field: str, existing: Sequence[Group] = ()
) -> tuple[tuple[Group, ...], list[Violation]]:
    """Return the groups of a request, and what is wrong with them. Options of `existing` groups are immutable."""
    if len(messages) > _MAX_GROUPS:
        return (), [Violation(field, f"may have at most {_MAX_GROUPS} entries, has {len(messages)}")]
    old = {group.name: group for group in existing}
    groups: dict[str, Group] = {}
    violations: list[Violation] = []
    for n, message in enumerate(messages):
        here = f"{field}[{n}]"
        if message.name in groups:
            violations.append(Violation(f"{here}.name", f"{shown(message.name)} is the name of two groups"))
        groups[message.name], wrong = _read_group(message, checked[n], here, old.get(message.name))
        violations += wrong
        if len(violations) > MAX_VIOLATIONS:
            break  # nobody reads more of them
    return tuple(groups.values()), violations


def read_options(
    messages: Mapping[str, option_value_pb2.OptionValue],
    options: Options,
    field: str,
    *,
    cluster: Mapping[str, OptionValue] | None = None,
) -> tuple[dict[str, OptionValue], list[Violation]]:
    """Return the checked values of options, and what is wrong with them: those of a group if `cluster` has its own."""
    if len(messages) > _MAX_OPTIONS:
        return {}, [Violation(field, f"may have at most {_MAX_OPTIONS} entries, has {len(messages)}")]
    return options.check(_values(messages), field, cluster=cluster)


def read_adapt(message: pb.AdaptRange, field: str) -> tuple[AdaptRange, list[Violation]]:
    """Return a range of adaptive scaling, and what is wrong with it."""
    maximum = message.maximum if message.HasField("maximum") else None
    violations = at_least_zero(f"{field}.minimum", message.minimum)
    if maximum is not None and maximum < message.minimum:
        text = f"must be at least the minimum, {message.minimum}, is {maximum}"
        violations.append(Violation(f"{field}.maximum", text))
    return AdaptRange(minimum=message.minimum, maximum=maximum), violations


def scaled(cluster: Cluster, name: str, size: int) -> Cluster:
    """Return the cluster with a fixed number of workers in a group."""
    group = _group(cluster, name)
    return _with_group(cluster, replace(group, size=size, adapt=None), None)


def adapted(cluster: Cluster, name: str, adapt: AdaptRange | None) -> Cluster:
    """Return the cluster with other adaptive scaling of a group, or without; its number of workers stays if it can."""
    group = _group(cluster, name)
    current = cluster.desired(group)
    if adapt is None:
        return _with_group(cluster, replace(group, size=current, adapt=None), None)
    return _with_group(cluster, replace(group, size=adapt.clamp(group.size), adapt=adapt), adapt.clamp(current))


def with_groups(cluster: Cluster, groups: Sequence[Group]) -> Cluster:
    """Return the cluster with these groups. Groups that stay adaptive keep their number of workers if they can."""
    adaptive = {group.name: group.adapt for group in groups if group.adapt}
    targets = {name: adaptive[name].clamp(target) for name, target in cluster.targets.items() if name in adaptive}
    return replace(cluster, spec=replace(cluster.spec, groups=tuple(groups)), targets=targets)


def _read_group(
    message: pb.WorkerGroup, checked: Checked, field: str, old: Group | None
) -> tuple[Group, list[Violation]]:
    violations: list[Violation] = []
    if not LABEL.fullmatch(message.name):
        violations.append(Violation(f"{field}.name", f"{LABEL_RULE}, is {shown(message.name)}"))
    violations += at_least_zero(f"{field}.size", message.size)
    adapt, size = None, message.size
    if message.HasField("adapt"):
        adapt, wrong = read_adapt(message.adapt, f"{field}.adapt")
        violations += wrong
        size = adapt.clamp(size)
    values, wrong = _group_options(message, checked, f"{field}.options", old)
    return Group(name=message.name, size=size, adapt=adapt, options=values), violations + wrong


def _group_options(message: pb.WorkerGroup, checked: Checked, field: str, old: Group | None) -> Checked:
    if old is not None and _keeps(message, old):
        return old.options, []
    values, violations = checked
    if old is not None and values != old.options:
        violations = [Violation(field, "cannot be changed; add a group with other options and remove this one")]
    return values, violations


def _keeps(message: pb.WorkerGroup, old: Group) -> bool:
    """Whether a group stays as it is. What was read fits, even if the administrator has narrowed the option since."""
    return not message.options or _values(message.options) == old.options


def _values(messages: Mapping[str, option_value_pb2.OptionValue]) -> dict[str, object]:
    return {key: value_from_proto(message) for key, message in messages.items()}


def _group(cluster: Cluster, name: str) -> Group:
    if (group := cluster.spec.group(name)) is None:
        there = ", ".join(repr(group.name) for group in cluster.spec.groups)
        raise GroupNotFound(f"cluster {cluster.id} has no worker group {name[:80]!r}; it has {there}")
    return group


def _with_group(cluster: Cluster, changed: Group, target: int | None) -> Cluster:
    groups = tuple(changed if group.name == changed.name else group for group in cluster.spec.groups)
    targets = {name: number for name, number in cluster.targets.items() if name != changed.name}
    if target is not None:
        targets[changed.name] = target
    return replace(cluster, spec=replace(cluster.spec, groups=groups), targets=targets)
