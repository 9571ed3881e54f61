"""The routes of all clusters, as far as dashboards need them."""

from __future__ import annotations

from headrace_auth import metrics
from headrace_chassis.routes import Route, RouteChange


class RouteTable:
    """The last known routes by cluster. Until the first snapshot it knows nothing, and nobody may pass."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self.is_known = False

    def get(self, cluster: str) -> Route | None:
        return self._routes.get(cluster)

    def apply(self, change: RouteChange) -> None:
        if change.snapshot:
            self._routes.clear()
        for cluster in change.removed:
            self._routes.pop(cluster, None)
        self._routes.update((route.cluster, route) for route in change.routes)
        self.is_known = True
        metrics.ROUTES.set(len(self._routes))
