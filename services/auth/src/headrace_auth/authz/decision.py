"""Decides whether a request for a dashboard may pass; knows neither Envoy's messages nor the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.access import Access, may
from headrace.errors import HeadraceError, StoreUnavailable, TokenExpired, Unauthenticated
from headrace.v1.enums import Right
from headrace_auth.authz.credentials import Credentials
from headrace_auth.authz.link_users import LinkUsers
from headrace_auth.authz.request import DashboardRequest
from headrace_auth.authz.route_table import RouteTable
from headrace_auth.signer import LINK, SESSION, DashboardGrant, Signer
from headrace_chassis.identity.caller import Caller

NEW_LINK = "Get a new link from cluster.dashboard_link (or `headrace clusters open`) and open that."


@dataclass(frozen=True, slots=True)
class Allow:
    """The request passes, to this ip:port."""

    address: str
    status = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """The browser repeats the request without the link, with a session."""

    location: str
    session: str
    cluster: str
    status = 302


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request does not pass; the message says what to do."""

    status: int
    title: str
    message: str


Decision = Allow | Redirect | Refuse


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Decides from memory; API tokens, groups and roles are looked up in bounded time."""

    signer: Signer
    routes: RouteTable
    credentials: Credentials
    link_users: LinkUsers
    session_seconds: int
    clock: Callable[[], float] = time.time

    async def decide(self, request: DashboardRequest) -> Decision:
        if not request.cluster:
            return Refuse(404, "No such page", "Dashboards are at /clusters/<cluster>/.")
        try:
            credential = await self._credential(request)
            if credential is None:
                return Refuse(401, "Not signed in", NEW_LINK)
            return await self._answer(request, credential)
        except StoreUnavailable as error:
            return Refuse(503, "Please try again", error.message)
        except TokenExpired:
            return Refuse(401, "This link or session has expired", NEW_LINK)
        except HeadraceError as error:
            return Refuse(401, "Not signed in", f"{error.message}. {NEW_LINK}")

    async def _credential(self, request: DashboardRequest) -> DashboardGrant | Caller | None:
        if request.link:
            return await self._grant_of_link(request)
        if request.bearer:
            return await self.credentials.bearer(request.bearer)
        if request.session:
            return await self.credentials.dashboard_token(request.session, SESSION)
        return None

    async def _grant_of_link(self, request: DashboardRequest) -> DashboardGrant:
        try:
            return await self.credentials.dashboard_token(request.link, LINK)
        except Unauthenticated:
            if not request.session:
                raise
        # An old link that is opened again, as from a bookmark, in a browser that is still signed in.
        return await self.credentials.dashboard_token(request.session, SESSION)

    async def _answer(self, request: DashboardRequest, credential: DashboardGrant | Caller) -> Decision:
        if not self.routes.is_known:
            return Refuse(503, "Please try again", "headrace has just started and does not know all clusters yet.")
        if (route := self.routes.get(request.cluster)) is None:
            return Refuse(404, "No such cluster", f"The cluster {request.cluster} does not run, or has ended.")
        if not await self._may_connect(request, credential, route.access):
            return Refuse(
                403, "No access", "You may not open the dashboard of this cluster: ask its owner to share it."
            )
        if not route.dashboard_address:
            return Refuse(
                503, "No dashboard", "This cluster has no dashboard, or it is still starting: try again in a moment."
            )
        if isinstance(credential, DashboardGrant) and request.link and not request.is_upgrade:
            session, _ = self.signer.dashboard_token(SESSION, credential, self.session_seconds)
            return Redirect(request.target_without_link, session, request.cluster)
        return Allow(route.dashboard_address)

    async def _may_connect(
        self, request: DashboardRequest, credential: DashboardGrant | Caller, access: Access
    ) -> bool:
        if isinstance(credential, Caller):
            return may(credential, Right.CLUSTER_CONNECT, access, now=self.clock())
        return credential.cluster == request.cluster and await self.link_users.may_connect(credential.user, access)
