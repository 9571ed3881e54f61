"""Launches that the backend refused, by group, and when to ask it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from headrace.backoff import delays
from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.model import ClusterId
from headrace_controller.plan import StartError

_NONE: Mapping[str | None, StartError] = {}


class StartErrors:
    """The last error of each group of each cluster; None is the group of the scheduler."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_cluster: dict[ClusterId, dict[str | None, _Pausing]] = {}

    def of(self, cluster: ClusterId) -> Mapping[str | None, StartError]:
        """Returns the errors of a cluster by group."""
        found = self._by_cluster.get(cluster)
        return {group: pausing.error for group, pausing in found.items()} if found else _NONE

    def record(
        self,
        cluster: ClusterId,
        group: str | None,
        message: str,
        *,
        cause: ExitCause | None = None,
        wait: WaitReason | None = None,
        processes: Iterable[str] = (),
    ) -> None:
        """Records that the backend could not launch processes; the pause before the next try grows each time.

        With a cause it never will launch these. `wait` is what the launch waits for.
        """
        of_cluster = self._by_cluster.setdefault(cluster, {})
        before = of_cluster.get(group)
        pauses = before.pauses if before else delays(0.1, 10.0)
        now = self._clock()
        since = before.error.since if before and before.error.wait is wait else now
        error = StartError(message, now + next(pauses), cause, frozenset(processes), wait=wait, since=since)
        of_cluster[group] = _Pausing(error, pauses)

    def clear(self, cluster: ClusterId, group: str | None) -> None:
        """Discards the error of a group whose launch the backend has accepted."""
        if of_cluster := self._by_cluster.get(cluster):
            of_cluster.pop(group, None)

    def discard(self, cluster: ClusterId) -> None:
        """Discards the errors of a cluster that launches nothing more."""
        self._by_cluster.pop(cluster, None)

    def discard_all(self, _shard: int) -> None:
        """Discards everything once a shard is lost: another replica asks the backend from now on."""
        self._by_cluster.clear()


@dataclass(frozen=True, slots=True)
class _Pausing:
    error: StartError
    pauses: Iterator[float]
