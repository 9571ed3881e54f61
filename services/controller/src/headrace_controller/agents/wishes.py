"""What adaptive scaling asks for: admitted as a user's wish is, and clipped to what a limit leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from headrace.errors import ClusterEnded, GroupNotFound, QuotaExceeded
from headrace_controller.admission import Admission
from headrace_controller.clusters.groups import with_group, within
from headrace_controller.model import Cluster, Event, Group, Severity, Spec
from headrace_controller.options import shapes
from headrace_controller.store import Store

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Clipped:
    """A wish that a limit has cut."""

    wanted: int
    got: int
    why: str = field(compare=False)


class Wishes:
    """Carries adaptive wishes into the spec."""

    def __init__(
        self, store: Store, admission: Admission, *, changed: Callable[[Cluster], None], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._admission = admission
        self._changed = changed
        self._clock = clock

    async def adopt(self, cluster: Cluster, group: str, size: int) -> Clipped | None:
        """Sets the size of an adaptive group, as far as limits allow; says so if they do not."""
        asked, why = size, ""
        for _ in range(_TRIES):
            try:
                changed = await self._set(cluster, group, asked)
            except QuotaExceeded as error:
                why = error.message
                cluster = await self._store.get(cluster.id)
                asked = _allowed(cluster.spec, group, asked, error)
            except (ClusterEnded, GroupNotFound):
                return None
            else:
                if changed.revision != cluster.revision:
                    self._changed(changed)
                return Clipped(size, asked, why) if why else None
        return Clipped(size, _size(cluster.spec, group), why)

    async def tell(self, cluster: Cluster, group: str, clipped: Clipped) -> None:
        """Adds to the cluster's events that a wish was cut."""
        message = (
            f"Adaptive scaling wants {clipped.wanted} workers in group {group!r} and gets {clipped.got}: {clipped.why}"
        )
        event = Event(type="AdaptiveClipped", message=message, severity=Severity.WARNING, time=self._clock())
        await self._store.add_event(cluster.id, cluster.owner, event)

    async def _set(self, cluster: Cluster, group: str, size: int) -> Cluster:
        def change(old: Group) -> Group:
            return replace(old, size=within(old.adapt, size)) if old.adapt else old

        return await self._store.change_spec(
            cluster.id,
            lambda spec: with_group(spec, group, change),
            demand=self._admission.demand,
            limits=self._admission.limits(cluster.owner, cluster.id),
        )


def _size(spec: Spec, group: str) -> int:
    found = spec.group(group)
    return found.wanted if found else 0


def _allowed(spec: Spec, name: str, asked: int, error: QuotaExceeded) -> int:
    """The most that a limit leaves for a group, never less than it has."""
    group = spec.group(name)
    if group is None:
        return 0
    worker = shapes.shape(spec, group)
    each = {"workers": 1, "cores": worker.cores, "memory_bytes": worker.memory_bytes}
    spare = max(0.0, float(error.details["limit"]) - float(error.details["used"]))
    more = int(spare / (each.get(error.details["what"], 0) or 1))
    return max(group.wanted, min(asked - 1, group.wanted + more))
