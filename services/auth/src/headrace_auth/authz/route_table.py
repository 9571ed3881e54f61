"""The routes of all clusters, as far as dashboards need them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from headrace_auth import metrics
from headrace_chassis.destinations import BadDestination, Destinations
from headrace_chassis.logs import get_logger
from headrace_chassis.metrics import ROUTES_SET_ASIDE
from headrace_chassis.roles import Roles
from headrace_chassis.routes import Route, RouteChange

log = get_logger()

# A cluster runs, and is shared, as soon as the proxy knows: auth hears of it a moment later. Envoy waits 2 s for auth.
HEAR_SECONDS = 1.0


class RouteTable:
    """The last known routes by cluster. Until the first snapshot it knows nothing, and nobody may pass.

    A dashboard where no route may lead counts as none.

    Parameters
    ----------
    roles
        Returns the roles of the policy in force.
    """

    def __init__(self, destinations: Destinations, roles: Callable[[], Roles] = Roles) -> None:
        self._destinations = destinations
        self._roles = roles
        self._routes: dict[str, Route] = {}
        self._changed = asyncio.Event()
        self.is_known = False

    def get(self, cluster: str) -> Route | None:
        """Return the route of a cluster, with the operators of now."""
        if (route := self._routes.get(cluster)) is None:
            return None
        operators = self._roles().operators_of(route.access.groups)
        return replace(route, access=replace(route.access, operators=operators)) if operators else route

    async def visited(
        self, cluster: str, visits_through: Callable[[Route], Awaitable[list[str]]]
    ) -> tuple[Route | None, list[str]]:
        """Return the route of a cluster and through whom it is visited, and wait for a moment for the news that say so.

        Parameters
        ----------
        visits_through
            Returns the members through whom; none if the visitor may not. Called again for each news of the cluster.
        """
        give_up = asyncio.get_running_loop().time() + HEAR_SECONDS
        while True:
            known, route = self._routes.get(cluster), self.get(cluster)
            guests = await visits_through(route) if route else []
            if guests:
                return route, guests
            try:
                async with asyncio.timeout_at(give_up):
                    while self._routes.get(cluster) is known:
                        await self._changed.wait()
            except TimeoutError:
                return route, guests

    def apply(self, change: RouteChange) -> None:
        if change.snapshot:
            self._routes.clear()
        for cluster in change.removed:
            self._routes.pop(cluster, None)
        self._routes.update((route.cluster, self._checked(route)) for route in change.routes)
        self.is_known = True
        self._changed.set()  # wakes all who wait now
        self._changed.clear()
        metrics.ROUTES.set(len(self._routes))

    def _checked(self, route: Route) -> Route:
        if not route.dashboard_address:
            return route
        try:
            self._destinations.read(route.dashboard_address)
        except BadDestination as error:
            ROUTES_SET_ASIDE.inc()
            log.warning("dashboard cannot be served", cluster=route.cluster, fault=str(error))
            return replace(route, dashboard_address="")
        return route
