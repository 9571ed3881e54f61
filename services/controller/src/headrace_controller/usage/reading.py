"""Usage of one or several owners, with what their clusters use now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence

from headrace.resource_names import group_name
from headrace_controller.meter import RowLabels
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import Store
from headrace_controller.store.accounts import subjects as subjects_of
from headrace_controller.store.usage import Days, UsageOf

_READS_AT_ONCE = 500
_SUMS_AT_ONCE = 1000


class UsageReading:
    """Reads usage up to this moment, a few owners at a time, so that other calls get their turn."""

    def __init__(self, store: Store, mirror: ClusterMirror) -> None:
        self._usage = store.used
        self._mirror = mirror

    async def of_owner(self, owner: UserId, days: Days) -> AsyncIterator[list[UsageOf]]:
        """Yield what a user used on these days."""
        await self._mirror.fresh()
        async for rows in self._of([owner], days):
            yield rows

    async def of_all(self, days: Days, group: str = "") -> AsyncIterator[list[UsageOf]]:
        """Yield what everybody used on these days, or the members of a group."""
        await self._mirror.fresh()
        running = {cluster.owner for cluster in self._living() if not group or group in cluster.groups}
        owners = running | await self._usage.owners(days, group_name(group) if group else "")
        async for rows in self._of(sorted(owners), days):
            yield [row for row in rows if not group or group in row.labels.groups]

    async def totals(self, subjects: Collection[str], days: Days) -> AsyncIterator[list[UsageOf]]:
        """Yield the sums of users, groups or profiles by day, also of days whose rows are not kept any more."""
        await self._mirror.fresh()
        running: dict[str, list[ClusterId]] = {subject: [] for subject in subjects}
        for cluster in self._living():
            for subject in subjects_of(cluster):
                if subject in running:
                    running[subject].append(cluster.id)
        names = list(running)
        size = max(1, _SUMS_AT_ONCE // len(days))
        for start in range(0, len(names), size):
            some = {subject: running[subject] for subject in names[start : start + size]}
            _, found = await self._usage.totals(some, days)
            rows: list[UsageOf] = []
            for subject in some:
                owner, labels = _named(subject)
                rows += [UsageOf(day, owner, labels, sums) for day, sums in found[subject].items() if sums.clusters]
            yield rows

    async def all_totals(self, kind: str, days: Days) -> AsyncIterator[list[UsageOf]]:
        """Yield the sums of all "users", "groups" or "profiles"."""
        await self._mirror.fresh()
        running = {subject for cluster in self._living() for subject in subjects_of(cluster)}
        subjects = await self._usage.subjects(kind, days) | {one for one in running if one.startswith(f"{kind}/")}
        async for rows in self.totals(sorted(subjects), days):
            yield rows

    async def groups_of(self, owner: UserId) -> tuple[str, ...]:
        """Return the groups that a user's clusters had when they were created."""
        await self._mirror.fresh()
        clusters = map(self._mirror.get, self._mirror.ids(owner))
        return tuple({group: None for cluster in clusters if cluster is not None for group in cluster.groups})

    def _living(self) -> Iterable[Cluster]:
        clusters = map(self._mirror.get, self._mirror.ids(living=True))
        return (cluster for cluster in clusters if cluster is not None)

    async def _of(self, owners: Sequence[UserId], days: Days) -> AsyncIterator[list[UsageOf]]:
        size = max(1, _READS_AT_ONCE // max(1, len(days)))
        for start in range(0, len(owners), size):
            some: dict[UserId, Sequence[ClusterId]] = {
                owner: self._mirror.ids(owner, living=True) for owner in owners[start : start + size]
            }
            yield (await self._usage.rows(some, days))[1]


def _named(subject: str) -> tuple[UserId, RowLabels]:
    """Whom a sum is of, as a row says it."""
    kind, _, name = subject.partition("/")
    if kind == "users":
        return UserId(name), RowLabels()
    return UserId(""), RowLabels(groups=(name,)) if kind == "groups" else RowLabels(profile=name)
