"""The dashboard link of a cluster: signed, valid for minutes, fetched when a user reads it."""

from __future__ import annotations

import time

from headrace._wire import auth_calls
from headrace._wire.connection import Connection
from headrace.errors import HeadraceError

_SECONDS_TO_CLICK = 120.0
_FETCH_SECONDS = 3.0


class DashboardLink:
    """The link to the dashboard of one cluster.

    Parameters
    ----------
    connection
        The connection to sign it with.
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
        """Whether there is enough time left to click on it."""
        return not self.exists or time.monotonic() < self._fresh_until

    async def refresh(self) -> str:
        """Sign the link again. If that fails, the old link stays, which needs a login."""
        try:
            link = await auth_calls.dashboard_link(self._connection, self._cluster, timeout=_FETCH_SECONDS)
        except HeadraceError:
            self._fresh_until = time.monotonic() + _FETCH_SECONDS
            return self.url
        left = link.expire_time.seconds - time.time()
        self._fresh_until = time.monotonic() + max(left - _SECONDS_TO_CLICK, left / 2)
        self.url = f"{self._public_address}{link.path}"
        return self.url
