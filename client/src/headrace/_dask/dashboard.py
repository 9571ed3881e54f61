"""A cluster's dashboard link: signed, short-lived, fetched when somebody looks at it."""

from __future__ import annotations

import time

from headrace._wire.connection import Connection
from headrace.errors import HeadraceError
from headrace.resource_names import cluster_name
from headrace.v1 import auth_service_pb2

_SECONDS_TO_CLICK = 120.0
_FETCH_SECONDS = 3.0


class DashboardLink:
    """The link to one cluster's dashboard.

    Parameters
    ----------
    connection
        Where to have it signed.
    cluster
        Id of the cluster.
    path
        Path of the dashboard below the public address; empty if there is none.
    """

    def __init__(self, connection: Connection, cluster: str, path: str) -> None:
        self._connection = connection
        self._cluster = cluster
        self._public_address = connection.target.public_address
        self._fresh_until = 0.0
        self.url = f"{self._public_address}{path}" if path else ""
        self.exists = bool(path)

    @property
    def fresh(self) -> bool:
        """Whether there is time left to click on it."""
        return not self.exists or time.monotonic() < self._fresh_until

    async def refresh(self) -> str:
        """Has it signed anew. Without an answer it stays as it is, and asks for a login."""
        request = auth_service_pb2.CreateDashboardLinkRequest(name=cluster_name(self._cluster))
        doing = f"making a dashboard link for {self._cluster}"
        connection = self._connection
        try:
            link = await connection.call(
                connection.auth.CreateDashboardLink, request, doing=doing, timeout=_FETCH_SECONDS
            )
        except HeadraceError:
            self._fresh_until = time.monotonic() + _FETCH_SECONDS
            return self.url
        left = link.expire_time.seconds - time.time()
        self._fresh_until = time.monotonic() + max(left - _SECONDS_TO_CLICK, left / 2)
        self.url = f"{self._public_address}{link.path}"
        return self.url
