"""Whom another policy would affect, and how. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from headrace.option_types import BadValue, OptionValue
from headrace.resource_names import cluster_name, group_name, user_name
from headrace.sizes import describe_amount, describe_quantity
from headrace_controller import resources
from headrace_controller.admission import Admission, ForNow, unchanged
from headrace_controller.model import Cluster, Demand, Limits
from headrace_controller.options.catalogue import Option
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Person, Profiles

_THEN = {"warn": "it gets no more", "scale_down": "workers are retired, those of the newest clusters first"}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change means to somebody.

    Attributes
    ----------
    key
        Path in the policy, such as ``limits.user``.
    subject
        ``users/{user}``, ``groups/{group}``, ``clusters/{cluster}``, ``profiles/{profile}`` or ``deployment``.
    owner
        Owner of the cluster that it is about, if it is about one.
    """

    key: str
    subject: str
    message: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A policy with what follows from it in this deployment."""

    policy: PolicyFile
    profiles: Profiles
    admission: Admission

    @classmethod
    def of(cls, policy: PolicyFile, profiles: Profiles, for_now: ForNow = unchanged) -> Self:
        """Make it of a policy and its profiles, with what binds now instead of its limits."""
        return cls(policy, profiles, Admission(policy, profiles, for_now=for_now))


def effects(clusters: Sequence[Cluster], before: Offer, after: Offer) -> list[Effect]:
    """Return what another policy means to the living clusters and to their owners, the most important first."""
    return [
        *_moved(clusters, before, after),
        *_over_limits([cluster for cluster in clusters if cluster.begun is not None], before, after),
        *_unfit(clusters, before, after),
        *_offered(clusters, before, after),
        *_roles(clusters, before.policy, after.policy),
    ]


def _moved(clusters: Iterable[Cluster], before: Offer, after: Offer) -> Iterator[Effect]:
    """Clusters whose profile goes away or moves to another backend."""
    for cluster in clusters:
        key = cluster.spec.profile
        if key not in before.policy.profiles:
            continue
        old, new = before.profiles.backend_of(key), after.profiles.backend_of(key)
        if new != old and not cluster.spec.backend:  # of a release that did not record it
            where = f"moves from backend {old} to {new}" if new and old else "goes away"
            message = f"its profile {key} {where}: it gets no new workers that reach its scheduler"
        elif key not in after.policy.profiles:
            message = f"its profile {key} goes away: it runs on, and cannot be created again"
        elif new != old:
            message = f"its profile {key} moves from backend {old} to {new}: it stays on {cluster.spec.backend}"
        else:
            continue
        yield Effect(f"profiles.{key}", cluster_name(cluster.id), message, cluster.owner)


def _unfit(clusters: Iterable[Cluster], before: Offer, after: Offer) -> Iterator[Effect]:
    """Clusters with options that could not be chosen again."""
    for cluster in clusters:
        key = cluster.spec.profile
        if key not in before.policy.profiles or key not in after.policy.profiles:
            continue
        person = Person(user=cluster.owner, groups=cluster.groups)
        old, new = ({o.key: o for o in offer.profiles.get(key).offered(person)} for offer in (before, after))
        for options in (cluster.spec.options, *(group.options for group in cluster.spec.groups)):
            for name in options.keys() & old.keys() & new.keys():
                reason = _reason(new[name], options[name])
                if reason and not _reason(old[name], options[name]):
                    message = f"its option {name} {reason}: it runs on, and cannot be created again"
                    yield Effect(f"profiles.{key}.options.{name}", cluster_name(cluster.id), message, cluster.owner)


def _reason(option: Option, value: OptionValue) -> str:
    """Why an option cannot have a value; "" if it can."""
    try:
        option.type.check(value)
    except BadValue as error:
        return str(error)
    return ""


def _offered(clusters: Iterable[Cluster], before: Offer, after: Offer) -> Iterator[Effect]:
    """Owners of clusters to whom a profile is offered, or no more. One that comes or goes is a change by itself."""
    both = before.policy.profiles.keys() & after.policy.profiles.keys()
    for person in dict.fromkeys(Person(user=cluster.owner, groups=cluster.groups) for cluster in clusters):
        old, new = ({profile.key for profile in offer.profiles.of(person)} for offer in (before, after))
        for key in sorted((old ^ new) & both):
            message = f"may choose the profile {key}" if key in new else f"may no longer choose the profile {key}"
            yield Effect(f"profiles.{key}", user_name(person.user), message)


def _over_limits(clusters: Iterable[Cluster], before: Offer, after: Offer) -> Iterator[Effect]:
    """Subjects that use more than a limit that is lowered."""
    used: dict[str, Demand] = {}
    allowed: dict[str, Limits] = {}
    were: dict[str, Limits] = {}
    owners: dict[str, str] = {}
    for cluster in clusters:
        demand = after.admission.count(cluster)
        were |= before.admission.limits(cluster)
        owners[cluster_name(cluster.id)] = cluster.owner
        for subject, limits in after.admission.limits(cluster).items():
            allowed[subject] = limits
            used.setdefault(subject, Demand()).update(demand)
    for subject, limits in allowed.items():
        for resource, limit in limits.items():
            old = were.get(subject, {}).get(resource)
            if used[subject][resource] > limit and (old is None or limit < old):
                yield Effect(
                    _limits_key(subject, after.policy),
                    subject,
                    _over(resource, used[subject][resource], limit, after.policy.limits.on_lowered),
                    owners.get(subject, ""),
                )


def _over(resource: str, used: int, limit: int, then: str) -> str:
    what, amount = resources.shown(resource, used)
    most = describe_quantity(*resources.shown(resource, limit))
    return f"uses {describe_amount(what, amount)} of the {most} that it may use: {_THEN[then]}"


def _limits_key(subject: str, policy: PolicyFile) -> str:
    """The path of the limits of a subject."""
    kind, _, name = subject.partition("/")
    if kind == "profiles":
        return f"profiles.{name}.limits"
    if kind == "users":
        return f"limits.users.{name}" if name in policy.limits.users else "limits.user"
    return {"groups": f"limits.groups.{name}", "clusters": "limits.cluster"}.get(kind, "limits.deployment")


def _roles(clusters: Iterable[Cluster], before: PolicyFile, after: PolicyFile) -> Iterator[Effect]:
    """Who becomes an admin or an operator, or is one no more."""
    for member in _differing(before.roles.admins, after.roles.admins):
        is_ = member in after.roles.admins
        message = "may do everything with every cluster" if is_ else "is an admin no more, unless auth makes it one"
        yield Effect("roles.admins", member, message)
    living: dict[str, int] = {}
    for cluster in clusters:
        for group in cluster.groups:
            living[group] = living.get(group, 0) + 1
    old, new = before.roles.operators, after.roles.operators
    for group in dict.fromkeys((*old, *new)):
        for member in _differing(old.get(group, ()), new.get(group, ())):
            may = "may" if member in new.get(group, ()) else "may no longer"
            what = f"see, scale and stop the clusters of {group_name(group)} and open their dashboards"
            message = f"{may} {what} ({living.get(group, 0)} now)"
            yield Effect(f"roles.operators.{group}", member, message)


def _differing(before: Iterable[str], after: Iterable[str]) -> list[str]:
    before, after = list(before), list(after)
    return [member for member in dict.fromkeys((*before, *after)) if (member in before) != (member in after)]
