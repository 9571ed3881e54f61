"""Which processes are being stopped, so that no stop is asked for twice at the same time."""

from __future__ import annotations

from collections.abc import Collection

from headrace_controller.model import ClusterId

_ALL = ""


class StopsUnderWay:
    """Processes that are being stopped: single ones, or all of a cluster."""

    def __init__(self) -> None:
        self._names: dict[ClusterId, set[str]] = {}

    def claim(self, cluster: ClusterId, processes: Collection[str] | None) -> frozenset[str]:
        """Claims those that are not being stopped yet (None: all processes); :meth:`release` must follow."""
        names = self._names.setdefault(cluster, set())
        wanted = frozenset({_ALL} if processes is None else processes)
        claimed = frozenset() if _ALL in names else wanted - names
        names |= claimed
        return claimed

    def release(self, cluster: ClusterId, claimed: frozenset[str]) -> None:
        """Notes that the stop of claimed processes has ended."""
        names = self._names[cluster]
        names -= claimed
        if not names:
            del self._names[cluster]
