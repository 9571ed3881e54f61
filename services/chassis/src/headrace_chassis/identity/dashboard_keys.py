"""Keys of the pages of schedulers: each one's HTTP server answers only requests that carry its own.

Envoy adds the key of the dashboard; that of the metrics is given to whoever collects them.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache

from headrace_chassis.identity.seal import derive

DASHBOARD_KEY_HEADER = "x-headrace-dashboard-key"
GUESTS_HEADER = "x-headrace-guests"
"""Through whom a websocket is open: names as in certificates, quoted for URLs, separated by commas."""

_REMEMBERED = 20_000  # clusters; all are asked for again and again, and deriving a key takes longer than its request


class DashboardKeys:
    """Derives keys from the deployment's, so none is stored."""

    purpose = "dashboard"

    def __init__(self, keys: Sequence[bytes], deployment: str) -> None:
        self._keys = [derive(key, f"{self.purpose}/{deployment}") for key in keys]
        self._of = lru_cache(_REMEMBERED)(self._derive)

    def of(self, cluster: str) -> str:
        """Return a cluster's keys, one of each deployment key, separated by commas.

        After a new deployment key has come first, both sides still have one in common.
        """
        return self._of(cluster)

    def _derive(self, cluster: str) -> str:
        return ",".join(hmac.digest(key, cluster.encode(), "sha256").hex() for key in self._keys)


class MetricsKeys(DashboardKeys):
    """Keys that open the metrics of a scheduler and nothing else of it."""

    purpose = "metrics"
