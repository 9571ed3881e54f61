"""Signed links that open a dashboard in a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from headrace.errors import ClusterNotFound, InvalidRequest, StoreUnavailable, Violation
from headrace_auth.routes import RouteTable
from headrace_auth.signed import LINK, DashboardGrant, Signer
from headrace_chassis.identity.caller import Caller

FIRST_PAGE = "status"
PAGE_LENGTH = 1024
_PAGE = re.compile(r"[\w.~-]+(/[\w.~-]+)*/?")


@dataclass(frozen=True, slots=True)
class DashboardLinks:
    """Makes links for those who may follow them."""

    signer: Signer
    routes: RouteTable
    link_seconds: int

    def create(self, caller: Caller, cluster: str, page: str) -> tuple[str, float]:
        """Returns path with query, and until when it may be opened first."""
        self._check(caller, cluster)
        grant = DashboardGrant(caller.user, cluster, caller.is_admin)
        token, expires = self.signer.dashboard_token(LINK, grant, self.link_seconds)
        return f"/clusters/{cluster}/{_checked_page(page)}?link={token}", expires

    def _check(self, caller: Caller, cluster: str) -> None:
        if not self.routes.is_known:
            raise StoreUnavailable("the controller has not told yet which clusters there are; repeat in a moment")
        route = self.routes.get(cluster)
        if route is None or (route.owner != caller.user and not caller.is_admin):
            raise ClusterNotFound(f"there is no running cluster clusters/{cluster} that you may see")


def _checked_page(page: str) -> str:
    path = page.lstrip("/") or FIRST_PAGE
    if len(path) > PAGE_LENGTH or not _PAGE.fullmatch(path) or ".." in path.split("/"):
        raise InvalidRequest.of(Violation("page", f"{page[:80]!r} is no path below the dashboard, such as 'workers'"))
    return quote(path)
