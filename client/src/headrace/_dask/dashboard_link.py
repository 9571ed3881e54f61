"""The dashboard link of a cluster: it signs one browser in, within minutes, and is fetched when a user reads it."""

from __future__ import annotations

import time

from headrace._wire import auth_calls
from headrace._wire.connection import Connection
from headrace.errors import HeadraceError
from headrace.stopwatch import Stopwatch

_SECONDS_TO_CLICK = 120.0
_FETCH_SECONDS = 3.0
# Somebody who reads the link again after this time may have opened the last one.
_NEW_SECONDS = 15.0


class DashboardLink:
    """The link to the dashboard of one cluster.

    Parameters
    ----------
    connection
        The connection to fetch it with.
    cluster
        Id of the cluster.
    path
        Path of the dashboard below the public address; empty if there is none.
    """

    def __init__(self, connection: Connection, cluster: str, path: str) -> None:
        self._connection = connection
        self._cluster = cluster
        self._public_address = connection.target.public_address
        self._age = Stopwatch()
        self._new_for = 0.0
        self._fresh_for = 0.0
        self.url = f"{self._public_address}{path}" if path else ""
        self.exists = bool(path)

    def is_good(self, *, for_view: bool) -> bool:
        """Whether the link need not be fetched again.

        A view, which is drawn often, has a link with enough time left to click on it; its browser stays signed in.
        """
        return not self.exists or self._age.seconds() < (self._fresh_for if for_view else self._new_for)

    async def refresh(self) -> str:
        """Fetch a new link. If that fails, the old link stays, which needs a login."""
        # Meanwhile, views need not ask.
        self._age, self._new_for, self._fresh_for = Stopwatch(), 0.0, _FETCH_SECONDS
        try:
            link = await auth_calls.dashboard_link(self._connection, self._cluster, timeout=_FETCH_SECONDS)
        except HeadraceError:
            self._age, self._new_for, self._fresh_for = Stopwatch(), _FETCH_SECONDS, _FETCH_SECONDS
            return self.url
        left = link.expire_time.seconds - time.time()
        self._age, self._fresh_for = Stopwatch(), max(left - _SECONDS_TO_CLICK, left / 2)
        self._new_for = min(_NEW_SECONDS, self._fresh_for)
        self.url = f"{self._public_address}{link.path}"
        return self.url
