"""Which right each RPC needs. An RPC that is not in the table is refused.

Owners see and change only what is theirs; that is decided by the service, which knows whose it is.
"""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """What a caller must be."""

    ANYONE = "anyone"
    USER = "user"  # with the role owner or admin
    ADMIN = "admin"
    AGENT = "agent"  # of a cluster
    SERVICE = "service"  # one of headrace's own, on the internal listener


_AUTH = "/headrace.v1.AuthService/"
_CLUSTERS = "/headrace.v1.ClusterService/"
_OPTIONS = "/headrace.v1.OptionsService/"
_AGENTS = "/headrace.internal.v1.AgentService/"
_ROUTES = "/headrace.internal.v1.RouteService/"
_HEALTH = "/grpc.health.v1.Health/"

RIGHTS: dict[str, Right] = {
    _AUTH + "Login": Right.ANYONE,
    _AUTH + "ListSigningKeys": Right.ANYONE,
    _AUTH + "WhoAmI": Right.USER,
    _AUTH + "CreateApiToken": Right.USER,
    _AUTH + "ListApiTokens": Right.USER,
    _AUTH + "DeleteApiToken": Right.USER,
    _AUTH + "CreateDashboardLink": Right.USER,
    _CLUSTERS + "CreateCluster": Right.USER,
    _CLUSTERS + "GetCluster": Right.USER,
    _CLUSTERS + "ListClusters": Right.USER,
    _CLUSTERS + "WatchClusters": Right.USER,
    _CLUSTERS + "ScaleCluster": Right.USER,
    _CLUSTERS + "AdaptCluster": Right.USER,
    _CLUSTERS + "StopCluster": Right.USER,
    _CLUSTERS + "StopAllClusters": Right.USER,
    _CLUSTERS + "ConnectCluster": Right.USER,
    _CLUSTERS + "ListWorkers": Right.USER,
    _CLUSTERS + "ListClusterEvents": Right.USER,
    _CLUSTERS + "ReadLogs": Right.USER,
    _OPTIONS + "ListOptions": Right.USER,
    _AGENTS + "Enroll": Right.AGENT,
    _AGENTS + "Session": Right.AGENT,
    _ROUTES + "WatchRoutes": Right.SERVICE,
    _HEALTH + "Check": Right.ANYONE,
    _HEALTH + "Watch": Right.ANYONE,
    _HEALTH + "List": Right.ANYONE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Right.ANYONE,
}


def right_of(method: str) -> Right | None:
    """Returns the right that ``/package.Service/Method`` needs; None: nobody has it."""
    return RIGHTS.get(method)
