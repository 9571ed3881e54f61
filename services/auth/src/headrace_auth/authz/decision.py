"""Decides whether a request for a dashboard may pass; knows neither Envoy's messages nor the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.access import ADMINS, OPERATORS, Access, Role, visits_through
from headrace.errors import HeadraceError, StoreUnavailable, TokenExpired, Unauthenticated
from headrace_auth.authz.credentials import Credentials
from headrace_auth.authz.dashboard_origins import DashboardOrigins
from headrace_auth.authz.link_codes import LinkUsed
from headrace_auth.authz.link_users import LinkUsers
from headrace_auth.authz.request import DashboardRequest
from headrace_auth.authz.route_table import RouteTable
from headrace_auth.signer import SESSION, DashboardGrant, Signer
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.dashboard_keys import DashboardKeys


@dataclass(frozen=True, slots=True)
class Visit:
    """A dashboard that somebody opens, or would: for the audit log."""

    user: Caller
    owner: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class Allow:
    """The request passes, to this ip:port, with what the dashboard demands and through whom it is open to the user."""

    address: str
    key: str
    guests: tuple[str, ...] = ()
    visit: Visit | None = None
    status = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """The browser repeats the request with a session in its path, and keeps the session for the next time."""

    location: str
    session: str
    cluster: str
    visit: Visit | None = None
    status = 302


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request does not pass; the messages say why and what to do. Between backquotes is what to type."""

    status: int
    title: str
    message: str
    what_to_do: str = ""
    visit: Visit | None = None


Decision = Allow | Redirect | Refuse


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a link or a session grants; `session` is the session itself, "" for a link."""

    grant: DashboardGrant
    session: str = ""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Decides from memory; API tokens, groups and roles are looked up in bounded time."""

    signer: Signer
    routes: RouteTable
    credentials: Credentials
    link_users: LinkUsers
    keys: DashboardKeys
    origins: DashboardOrigins
    session_seconds: int
    clock: Callable[[], float] = time.time

    async def decide(self, request: DashboardRequest) -> Decision:
        if not request.cluster or not self.origins.is_for(request.host, request.cluster):
            return Refuse(404, "No such page", "Dashboards are at /clusters/<cluster>/.")
        if request.comes_from_elsewhere:
            return Refuse(403, "No access", "A page of another site opened this.")
        try:
            credential = await self._credential(request)
            if credential is None:
                return _sign_in(request, "Not signed in", "This page needs a link that signs you in.")
            return await self._answer(request, credential)
        except StoreUnavailable as error:
            return Refuse(503, "Please try again", error.message)
        except LinkUsed:
            return _sign_in(
                request,
                "This link was opened before",
                "A link signs in one browser, and another one has used it. If that was not you, run "
                "`headrace logout --everywhere`, which closes all of your dashboards.",
            )
        except TokenExpired:
            return _sign_in(
                request,
                "This link or session has expired",
                "A link can be opened for some minutes; one that was saved with a notebook is too old.",
            )
        except HeadraceError as error:
            return _sign_in(request, "Not signed in", f"{error.message[:1].upper()}{error.message[1:]}.")

    async def _credential(self, request: DashboardRequest) -> _Signed | Caller | None:
        cookie = request.cookie if request.is_navigation else ""
        if request.link and request.opens_link:
            try:
                return _Signed(await self.credentials.link(request.link, request.browser))
            except Unauthenticated:
                # An old link may be opened again, as from a bookmark, in a browser that is still signed in.
                if not cookie:
                    raise
        elif request.bearer:
            return await self.credentials.bearer(request.bearer)
        if session := request.session or cookie:
            return _Signed(await self.credentials.session(session), session)
        return None

    async def _answer(self, request: DashboardRequest, credential: _Signed | Caller) -> Decision:
        if not self.routes.is_known:
            return Refuse(503, "Please try again", "headrace has just started and does not know all clusters yet.")
        route, guests = await self.routes.visited(
            request.cluster, lambda route: self._visits_through(request, credential, route.access)
        )
        if route is None:
            return Refuse(404, "No such cluster", f"The cluster {request.cluster} does not run, or has ended.")
        if not guests:
            return Refuse(
                403,
                "No access",
                "You may not open the dashboard of this cluster: ask its owner to share it.",
                visit=_visit(credential, route.access, []),
            )
        if not route.dashboard_address:
            return Refuse(
                503, "No dashboard", "This cluster has no dashboard, or it is still starting: try again in a moment."
            )
        if isinstance(credential, _Signed) and not request.session and not request.is_upgrade:
            return replace(self._redirect(request, credential), visit=_visit(credential, route.access, guests))
        # A page has dozens of files: only requests without a session are visits of their own.
        visit = _visit(credential, route.access, guests) if isinstance(credential, Caller) else None
        return Allow(route.dashboard_address, self.keys.of(request.cluster), tuple(guests), visit)

    def _redirect(self, request: DashboardRequest, signed: _Signed) -> Redirect:
        session = signed.session
        if not session:
            session, _ = self.signer.dashboard_token(SESSION, signed.grant, self.session_seconds)
        base = self.origins.base(request.host, request.cluster)
        path = f"/clusters/{request.cluster}/~{session}{request.page or '/'}{request.query_without_link}"
        return Redirect(f"{base}{path}", session, request.cluster)

    async def _visits_through(
        self, request: DashboardRequest, credential: _Signed | Caller, access: Access
    ) -> list[str]:
        """Return the members through whom the user may open the dashboard; none if the user may not."""
        if isinstance(credential, Caller):
            return visits_through(credential, access, now=self.clock())
        grant = credential.grant
        return await self.link_users.visits_through(grant.user, access) if grant.cluster == request.cluster else []


def _visit(credential: _Signed | Caller, access: Access, guests: list[str]) -> Visit:
    user = credential if isinstance(credential, Caller) else credential.grant.user
    return Visit(user, access.owner, visitors_role(user, access, guests))


def visitors_role(user: Caller, access: Access, guests: list[str]) -> Role | None:
    """Return as what a user opens a dashboard through these members; None for a stranger."""
    if not guests or user.user == access.owner:
        return Role.OWNER if guests else None
    return {ADMINS: Role.ADMIN, OPERATORS: Role.OPERATOR}.get(guests[0], Role.SHARED)


def _sign_in(request: DashboardRequest, title: str, message: str) -> Refuse:
    fresh = (
        "For a new link, run `cluster.dashboard_link` in your notebook or program, or "
        f"`headrace clusters open {request.cluster}` in a terminal."
    )
    return Refuse(401, title, message, fresh)
