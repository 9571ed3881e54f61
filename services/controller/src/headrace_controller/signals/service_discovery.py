"""The list of live schedulers, as Prometheus' `http_sd` reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headrace_controller.model import Cluster
from headrace_controller.signals.collection import METRICS_PATH

PATH = "/schedulers"


def target_groups(clusters: Iterable[Cluster], key: Callable[[str], str]) -> bytes:
    """Return each scheduler with its labels, and with the key that opens its metrics.

    A label that begins with two underscores is an instruction to Prometheus, which drops it after it has found the
    target. What a scheduler's page says cannot replace the others.
    """
    groups: list[Any] = [
        {
            "targets": [cluster.report.dashboard_address],
            "labels": {
                "__metrics_path__": METRICS_PATH,
                "__param_key": key(cluster.id),
                "cluster": cluster.id,
                "owner": cluster.owner,
                "profile": cluster.spec.profile,
                "alias": cluster.spec.alias,
            },
        }
        for cluster in clusters
    ]
    return msgspec.json.encode(groups)
