"""The calls to AuthService, written once for the client and the command line."""

from __future__ import annotations

from headrace._wire.connection import Connection
from headrace.resource_names import cluster_name, user_name
from headrace.v1 import auth_service_pb2


async def server_info(connection: Connection, timeout: float | None = None) -> auth_service_pb2.ServerInfo:
    """Return version, ways to log in and features of the server (GetServerInfo). Needs no login."""
    request = auth_service_pb2.GetServerInfoRequest()
    doing = f"asking {connection.target.address} what it offers"
    return await connection.call(connection.auth.GetServerInfo, request, doing=doing, timeout=timeout, anonymous=True)


async def whoami(connection: Connection) -> auth_service_pb2.User:
    """Return the caller (WhoAmI)."""
    return await connection.call(connection.auth.WhoAmI, auth_service_pb2.WhoAmIRequest(), doing="asking who you are")


async def dashboard_link(
    connection: Connection, cluster: str, page: str = "", timeout: float | None = None
) -> auth_service_pb2.CreateDashboardLinkResponse:
    """Return a link that opens the dashboard of the cluster with this id in one browser (CreateDashboardLink)."""
    request = auth_service_pb2.CreateDashboardLinkRequest(name=cluster_name(cluster), page=page)
    doing = f"making a link to the dashboard of cluster {cluster}"
    return await connection.call(connection.auth.CreateDashboardLink, request, doing=doing, timeout=timeout)


async def create_api_token(
    connection: Connection, token: auth_service_pb2.ApiToken
) -> auth_service_pb2.CreateApiTokenResponse:
    """Create an API token (CreateApiToken). Not retried: each call makes one."""
    request = auth_service_pb2.CreateApiTokenRequest(api_token=token)
    return await connection.call(connection.auth.CreateApiToken, request, doing="creating an API token", retry=False)


async def list_api_tokens(connection: Connection, owner: str = "") -> list[auth_service_pb2.ApiToken]:
    """Return API tokens, newest first (ListApiTokens). `owner` is a user id; by default the caller."""
    name = user_name(owner.removeprefix("users/")) if owner else ""
    request = auth_service_pb2.ListApiTokensRequest(owner=name)
    pages = connection.pages(connection.auth.ListApiTokens, request, doing="listing API tokens")
    return [token async for page in pages for token in page.api_tokens]


async def delete_api_token(connection: Connection, name: str) -> None:
    """Revoke the API token with this resource name (DeleteApiToken)."""
    request = auth_service_pb2.DeleteApiTokenRequest(name=name)
    await connection.call(connection.auth.DeleteApiToken, request, doing=f"revoking {name}")


async def end_dashboard_sessions(connection: Connection) -> None:
    """End the caller's sessions and links at dashboards (EndDashboardSessions)."""
    request = auth_service_pb2.EndDashboardSessionsRequest()
    await connection.call(connection.auth.EndDashboardSessions, request, doing="ending your sessions at dashboards")
