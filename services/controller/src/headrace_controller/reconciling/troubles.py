"""What the backend could not start, and when to ask it again: of each group by itself, and of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headrace_chassis.backoff import delays
from headrace_controller.model import ClusterId
from headrace_controller.plan import Trouble

_NONE: Mapping[str | None, Trouble] = {}


class Troubles:
    """The last trouble of each group of each cluster; None is the group of the scheduler."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_cluster: dict[ClusterId, dict[str | None, _Pausing]] = {}

    def of(self, cluster: ClusterId) -> Mapping[str | None, Trouble]:
        """The troubles of a cluster by group."""
        found = self._by_cluster.get(cluster)
        return {group: pausing.trouble for group, pausing in found.items()} if found else _NONE

    def note(self, cluster: ClusterId, group: str | None, message: str) -> None:
        """The backend could not start something; the pause before the next try grows with each time."""
        of_cluster = self._by_cluster.setdefault(cluster, {})
        before = of_cluster.get(group)
        pauses = before.pauses if before else delays(0.1, 10.0)
        of_cluster[group] = _Pausing(Trouble(message, self._clock() + next(pauses)), pauses)

    def over(self, cluster: ClusterId, group: str | None) -> None:
        """The backend has taken a start over."""
        if of_cluster := self._by_cluster.get(cluster):
            of_cluster.pop(group, None)

    def forget(self, cluster: ClusterId) -> None:
        """Nothing of the cluster is to be started any more."""
        self._by_cluster.pop(cluster, None)

    def doubt(self, _shard: int) -> None:
        """From now on another replica may ask the backend; what it said here is not known to hold any more."""
        self._by_cluster.clear()


@dataclass(frozen=True, slots=True)
class _Pausing:
    trouble: Trouble
    pauses: Iterator[float]
