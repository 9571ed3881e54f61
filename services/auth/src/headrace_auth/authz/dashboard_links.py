"""Links that open a dashboard in one browser, once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

from headrace.access import visits_through
from headrace.errors import ClusterNotFound, InvalidRequest, PermissionDenied, StoreUnavailable, Violation
from headrace.resource_names import cluster_name
from headrace_auth.authz.decision import visitors_role
from headrace_auth.authz.link_codes import LinkCodes
from headrace_auth.authz.link_users import LinkUsers
from headrace_auth.authz.request import LINK_PARAMETER
from headrace_auth.authz.route_table import RouteTable
from headrace_auth.signer import LINK, DashboardGrant, Signer
from headrace_chassis.audit.note import about
from headrace_chassis.identity.caller import Caller
from headrace_chassis.routes import Route

FIRST_PAGE = "status"
PAGE_LENGTH = 1024
_PAGE = re.compile(r"[\w.~-]+(/[\w.~-]+)*/?")


@dataclass(frozen=True, slots=True)
class DashboardLinks:
    """Creates links for users who may open the dashboard."""

    signer: Signer
    routes: RouteTable
    users: LinkUsers
    codes: LinkCodes
    clock: Callable[[], float] = time.time

    async def create(self, caller: Caller, cluster: str, page: str) -> tuple[str, float]:
        """Return path and query, and the time until which the link can be opened."""
        path = f"/clusters/{cluster}/{_checked_page(page)}"
        user = await self._user(caller, cluster)
        token, expires = self.signer.dashboard_token(LINK, DashboardGrant(cluster, user), self.codes.link_seconds)
        code = await self.codes.save(token, user.user, self.clock(), expires)
        return f"{path}?{LINK_PARAMETER}={code}", expires

    async def _user(self, caller: Caller, cluster: str) -> Caller:
        """Return the user as the link names them: without roles, with the groups through which they may open it."""
        if not self.routes.is_known:
            raise StoreUnavailable("the controller has not sent its clusters yet; repeat the call in a moment")

        async def through(route: Route) -> list[str]:
            return visits_through(caller, route.access, now=self.clock())

        route, guests = await self.routes.visited(cluster, through)
        if route is not None:
            about(cluster_name(cluster), route.access.owner, visitors_role(caller, route.access, guests))
        if route is None or not guests:
            raise ClusterNotFound(f"there is no running cluster clusters/{cluster} whose dashboard you may open")
        members = {share.member for share in route.access.shares} | set[str]().union(*route.access.operators)
        groups = tuple(group for group in caller.groups if f"groups/{group}" in members)
        user = replace(caller, roles=frozenset[str](), groups=groups)
        if not await self.users.visits_through(user, route.access):
            raise PermissionDenied(
                f"a link names no roles, and {caller.method} cannot say later whether {caller.user} is an admin: open "
                "this dashboard with an access token in each request"
            )
        return user


def _checked_page(page: str) -> str:
    path = page.lstrip("/") or FIRST_PAGE
    if len(path) > PAGE_LENGTH or not _PAGE.fullmatch(path) or ".." in path.split("/"):
        raise InvalidRequest.of(
            Violation("page", f"{page[:80]!r} is not a path below the dashboard, such as 'workers'")
        )
    return quote(path)
