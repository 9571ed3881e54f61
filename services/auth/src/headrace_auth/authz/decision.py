"""What becomes of a request for a dashboard. Decides; knows neither Envoy's messages nor any network."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import HeadraceError, StoreUnavailable, TokenExpired, Unauthenticated
from headrace_auth.authz.credentials import CredentialReader
from headrace_auth.authz.request import DashboardRequest
from headrace_auth.routes import DashboardRoute, RouteTable
from headrace_auth.signed import LINK, SESSION, DashboardGrant, Signer

AGAIN = "Get a fresh link from cluster.dashboard_link (or `headrace clusters open`) and open that."


@dataclass(frozen=True, slots=True)
class Allow:
    """It passes, to this ip:port."""

    address: str
    status = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """The browser comes again without the link, and with a session."""

    location: str
    session: str
    cluster: str
    status = 302


@dataclass(frozen=True, slots=True)
class Refuse:
    """It does not pass; the message says what to do."""

    status: int
    title: str
    message: str


Decision = Allow | Redirect | Refuse


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Decides from what it has at hand; only API tokens need a look elsewhere, which is bounded in time."""

    signer: Signer
    routes: RouteTable
    session_seconds: int
    credentials: CredentialReader

    def decide(self, request: DashboardRequest) -> Decision:
        if not request.cluster:
            return Refuse(404, "No such page", "Dashboards are at /clusters/<cluster>/.")
        try:
            grant = self._grant(request)
        except StoreUnavailable as error:
            return Refuse(503, "Please try again", error.message)
        except TokenExpired:
            return Refuse(401, "This link or session has run out", AGAIN)
        except HeadraceError as error:
            return Refuse(401, "Not signed in", f"{error.message}. {AGAIN}")
        if grant is None:
            return Refuse(401, "Not signed in", AGAIN)
        return self._answer(request, grant)

    def _grant(self, request: DashboardRequest) -> DashboardGrant | None:
        if request.link:
            return self._grant_of_link(request)
        if request.bearer:
            caller = self.credentials.bearer(request.bearer)
            return DashboardGrant(caller.user, request.cluster, caller.is_admin)
        if request.session:
            return self.credentials.dashboard_token(request.session, SESSION)
        return None

    def _grant_of_link(self, request: DashboardRequest) -> DashboardGrant:
        try:
            return self.credentials.dashboard_token(request.link, LINK)
        except Unauthenticated:
            if not request.session:
                raise
        # An old link opened again, as from a bookmark, in a browser that is still signed in.
        return self.credentials.dashboard_token(request.session, SESSION)

    def _answer(self, request: DashboardRequest, grant: DashboardGrant) -> Decision:
        if not self.routes.is_known:
            return Refuse(503, "Please try again", "headrace has just started and does not know all clusters yet.")
        route = self.routes.get(request.cluster)
        refusal = _refusal(request, grant, route)
        if refusal is not None or route is None:
            return refusal or _unknown(request)
        if request.link and not request.is_upgrade:
            session, _ = self.signer.dashboard_token(SESSION, grant, self.session_seconds)
            return Redirect(request.target_without_link, session, request.cluster)
        return Allow(route.dashboard_address)


def _unknown(request: DashboardRequest) -> Refuse:
    return Refuse(404, "No such cluster", f"The cluster {request.cluster} does not run, or has ended.")


def _refusal(request: DashboardRequest, grant: DashboardGrant, route: DashboardRoute | None) -> Refuse | None:
    if route is None:
        return _unknown(request)
    if grant.cluster != request.cluster or (route.owner != grant.user and not grant.is_admin):
        return Refuse(403, "Not yours", "This dashboard belongs to somebody else's cluster.")
    if not route.dashboard_address:
        return Refuse(503, "No dashboard", "This cluster has no dashboard (yet).")
    return None
