"""Which limits bind a cluster, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor, inf

from headrace.errors import InvalidRequest, QuotaExceeded, Violation
from headrace.resource_names import cluster_name, group_name, user_name
from headrace_controller import resources
from headrace_controller.model import Cluster, Demand, Group, Limits
from headrace_controller.options import shapes
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Profiles, UnknownProfile
from headrace_controller.store import DEPLOYMENT, GroupGrowth, Growth, QueueRules

MAX_WORKERS = 100_000
"""Workers of one cluster where the settings have no limit: a typo must not request a billion."""

EACH_CLUSTER = "clusters/-"
"""Subject of the limits of each cluster by itself."""

MAX_MEMORY_BYTES = 2**50
"""Memory of one cluster where the settings have no limit; sums of it stay exact in the store."""

_NO_MEMORY = "must be more than 0, because a limit on memory binds; "
_GIVE_MEMORY = "give a size such as '2 GiB'"
_GIVE_CORES = "ask for more worker_cores"
_OTHER_OPTIONS = "a group keeps its options: add a worker group with others, or create another cluster"

ForNow = Callable[[str, Limits], Limits]
"""Returns what binds a subject now instead of limits of the policy."""


def unchanged(_subject: str, limits: Limits) -> Limits:
    """Let limits bind as they are in the policy."""
    return limits


class Admission:
    """The limits of a deployment.

    Parameters
    ----------
    check_growth
        Raises `QuotaExceeded` if a budget keeps a cluster from being promised this.
    for_now
        Returns what binds a user or a group now instead of the policy's limits.
    """

    def __init__(
        self,
        policy: PolicyFile,
        profiles: Profiles,
        check_growth: Callable[[Cluster, Demand], None] = lambda _cluster, _demand: None,
        for_now: ForNow = unchanged,
    ) -> None:
        self._profiles = profiles
        self._check_growth = check_growth
        self._for_now = for_now
        self.follow(policy)

    def follow(self, policy: PolicyFile) -> None:
        """Take up the limits of a policy."""
        self._scheduler = policy.scheduler.resources()
        self._threads_per_core = policy.worker.threads_per_core
        self._settings = limits = policy.limits
        self._cluster = limits.cluster.limits()
        for resource, most in ((resources.WORKERS, MAX_WORKERS), (resources.MEMORY, MAX_MEMORY_BYTES)):
            self._cluster[resource] = min(most, self._cluster.get(resource, most))
        self._user = limits.user.limits()
        self._users = {user: limits.of_user(user) for user in limits.users}
        self._groups = {group: settings.limits() for group, settings in limits.groups.items()}
        self._deployment = limits.deployment.limits()
        self._counts = {key: profile.counts for key, profile in policy.profiles.items()}
        everybody = [limits.cluster, limits.user, limits.deployment, *limits.users.values(), *limits.groups.values()]
        everybody += [profile.limits for profile in policy.profiles.values()]
        self._names = {name for settings in everybody for name in settings.resources}

    def limits(self, cluster: Cluster) -> Mapping[str, Limits]:
        """Return the limits that bind a cluster, by subject, in the order to check them.

        Whoever is in it is charged, with bounds or without.
        """
        return {
            cluster_name(cluster.id): self._cluster,
            **self.shared_limits(cluster.owner, cluster.groups, cluster.spec.profile),
        }

    def shared_limits(self, owner: str, groups: Iterable[str], profile: str) -> dict[str, Limits]:
        """Return the limits that a cluster has in common with others, by subject, in the order to check them."""
        own = {user_name(owner): self._users.get(owner, self._user)}
        own |= {group_name(group): self._groups.get(group, Limits()) for group in groups}
        return {
            **{subject: self._for_now(subject, limits) for subject, limits in own.items()},
            f"profiles/{profile}": self._profile(profile),
            DEPLOYMENT: self._deployment,
        }

    def bounds(self, user: str, groups: Iterable[str], profiles: Iterable[str]) -> dict[str, Limits]:
        """Return the limits that clusters of a user may meet, by subject."""
        found = {EACH_CLUSTER: self._cluster, **self.shared_limits(user, groups, "")}
        everybody = found.pop(DEPLOYMENT)
        found |= {f"profiles/{profile}": self._profile(profile) for profile in profiles}
        return {**found, DEPLOYMENT: everybody}

    @property
    def resource_names(self) -> frozenset[str]:
        """Names of the resources of the policy's own that its limits count."""
        return frozenset(self._names)

    @property
    def clips(self) -> bool:
        """Whether a request to scale beyond a limit gets what the limit allows; otherwise it is refused."""
        return self._settings.on_scale != "reject"

    @property
    def lets_workers_wait(self) -> bool:
        """Whether workers wait that a limit refuses to a cluster."""
        return self._settings.on_scale == "queue"

    @property
    def takes_away(self) -> bool:
        """Whether clusters lose workers when a limit is lowered below what is used."""
        return self._settings.on_lowered == "scale_down"

    @property
    def lowered_grace(self) -> float:
        """Seconds for which they are warned of that."""
        return self._settings.lowered_grace

    @property
    def patience(self) -> float:
        """Seconds after which room is kept for a cluster that waits."""
        return self._settings.queue.patience

    def growth(self, before: Cluster, after: Cluster) -> Growth | None:
        """Return how workers wait that limits refuse to a cluster that grows; None: they may not.

        Workers that wait already go on to do so, whatever the policy says now.
        """
        waits = before.queued is not None and before.queued.granted
        if before.begun is None or not (waits or self.lets_workers_wait):
            return None
        groups = [
            GroupGrowth(
                name=group.name,
                had=had,
                wanted=after.wanted(group),
                each=shapes.per_worker(after.spec, group, self._counted(after)),
            )
            for group in after.spec.groups
            if (had := _had(before, group.name)) < after.wanted(group)
        ]
        return Growth(weight=self._weight(after), begun=before.begun, groups=groups)

    def queue(self, cluster: Cluster, timeout: float | None) -> QueueRules | None:
        """Return how a new cluster may wait for room, at most as long as its user wants; None: it may not."""
        settings = self._settings.queue
        if self._settings.on_create != "queue" or timeout == 0:
            return None
        bounds = [seconds for seconds in (settings.timeout, timeout) if seconds is not None]
        return QueueRules(weight=self._weight(cluster), each=settings.each, timeout=min(bounds, default=None))

    def _weight(self, cluster: Cluster) -> float:
        weights = self._settings.queue.weights
        return max((weights[group] for group in cluster.groups if group in weights), default=1.0)

    def most_workers(self, cluster: Cluster, group: str) -> tuple[int, str]:
        """Return how many workers a group could have if nothing else were used, and the subject of that limit."""
        worker = self.worker(cluster, group)
        return min(
            (limits[resource] // each, subject)
            for subject, limits in self.limits(cluster).items()
            for resource, each in worker.items()
            if each and resource in limits
        )

    def worker(self, cluster: Cluster, group: str) -> Demand:
        """Return what a worker of a group counts as."""
        found = cluster.spec.group(group)
        if found is None:
            return Demand({resources.WORKERS: 1})
        return shapes.per_worker(cluster.spec, found, self._counted(cluster))

    def count(self, cluster: Cluster) -> Demand:
        """Return what a cluster counts as."""
        return shapes.demand(cluster, self._scheduler, self._counted(cluster))

    def _counted(self, cluster: Cluster) -> Mapping[str, float | None]:
        """What limits know by name, and what the profile says that a worker counts as."""
        counts = self._counts.get(cluster.spec.profile, {})
        return {name: counts.get(name) for name in self._names}

    def check(self, cluster: Cluster, before: Cluster | None = None) -> None:
        """Raise `InvalidRequest` for workers that may use more than what limits count.

        Groups that grow no more than they were to `before`, when no limit may have been set, stay as they are.
        """
        bounds = [self._settings.cluster.limits()]
        bounds += self.shared_limits(cluster.owner, cluster.groups, cluster.spec.profile).values()
        memory = any(resources.MEMORY in bound for bound in bounds)
        cores = any(resources.CORES in bound for bound in bounds)
        violations: list[Violation] = []
        for n, group in enumerate(cluster.spec.groups):
            old = before.spec.group(group.name) if before else None
            kept = old is not None and old.options == group.options
            if old is not None and kept and _largest(group) <= _largest(old):
                continue
            worker = shapes.shape(cluster.spec, group)
            field = f"spec.worker_groups[{n}].options" if group.options else "spec.options"
            if memory and not worker.resources.memory_bytes:
                violations.append(
                    Violation(f"{field}.worker_memory", _NO_MEMORY + (_OTHER_OPTIONS if kept else _GIVE_MEMORY))
                )
            maximum = max(1, ceil(worker.resources.cores)) * self._threads_per_core
            if cores and worker.threads > maximum:
                text = f"may be at most {maximum} with {worker.resources.cores:g} worker_cores, is {worker.threads}"
                more = _OTHER_OPTIONS if kept else _GIVE_CORES
                violations.append(Violation(f"{field}.worker_threads", f"{text}; {more}"))
        if violations:
            raise InvalidRequest.of(*dict.fromkeys(violations))

    def demand(self, cluster: Cluster) -> Demand:
        """Return what a cluster asks for; raise `QuotaExceeded` before the store has to count with absurd numbers."""
        demand = self.count(cluster)
        for resource, most in ((resources.WORKERS, MAX_WORKERS), (resources.MEMORY, MAX_MEMORY_BYTES)):
            if demand[resource] > most:
                limit = self._cluster[resource]
                raise QuotaExceeded.of(
                    subject=cluster_name(cluster.id), what=resource, limit=limit, used=0, asked=demand[resource]
                )
        self._check_growth(cluster, demand)
        return demand

    def _profile(self, key: str) -> Limits:
        try:
            return self._profiles.get(key).limits or Limits()
        except UnknownProfile:
            return Limits()


def _had(before: Cluster, name: str) -> int:
    """How many workers a group had, if it was there."""
    group = before.spec.group(name)
    return 0 if group is None else before.desired(group)


def _largest(group: Group) -> float:
    """How many workers a group may have as it is."""
    if group.adapt is None:
        return group.size
    return inf if group.adapt.maximum is None else group.adapt.maximum


def largest_size(cluster: Cluster, name: str, asked: int, error: QuotaExceeded, worker: Demand) -> int:
    """Return the largest size that a limit leaves to a group of such workers, never less than it has."""
    group = cluster.spec.group(name)
    if group is None:
        return 0
    each = dict(resources.shown(resource, amount) for resource, amount in worker.items())
    spare = max(0.0, float(error.details["limit"]) - float(error.details["used"]))
    more = floor(spare / (each.get(error.details["what"], 0) or 1) + 1e-9)
    desired = cluster.desired(group)
    return max(desired, min(asked - 1, desired + more))
