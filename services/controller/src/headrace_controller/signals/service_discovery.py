"""The lists of live schedulers and of their workers, as Prometheus' `http_sd` reads them.

A label that begins with two underscores is an instruction to Prometheus, which drops it after it has found the target.
What a page says cannot replace the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from headrace_controller.model import Cluster
from headrace_controller.signals.collection import METRICS_PATH

PATH = "/schedulers"
WORKERS_PATH = "/workers"

Key = Callable[[str], str]
"""Returns the key of a cluster's metrics."""


def target_groups(clusters: Iterable[Cluster], key: Key) -> bytes:
    """Return each scheduler with its labels, and with the key that opens its metrics."""
    return _list(_target(cluster, key, METRICS_PATH) for cluster in clusters)


def worker_target_groups(clusters: Iterable[Cluster], key: Key) -> bytes:
    """Return each worker that has joined. Its scheduler shows its page; nothing of a worker itself can be read."""
    return _list(
        _target(cluster, key, f"{METRICS_PATH}/workers/{worker}", worker=worker)
        for cluster in clusters
        for worker in cluster.report.joined
    )


def _target(cluster: Cluster, key: Key, path: str, **labels: str) -> Mapping[str, object]:
    return {
        "targets": [cluster.report.dashboard_address],
        "labels": {
            "__metrics_path__": path,
            "__param_key": key(cluster.id),
            "cluster": cluster.id,
            "owner": cluster.owner,
            "profile": cluster.spec.profile,
            "alias": cluster.spec.alias,
            **labels,
        },
    }


def _list(groups: Iterable[Mapping[str, object]]) -> bytes:
    """Encode them one by one, so that other threads of this process never wait for thousands."""
    return b"[%s]" % b",".join(map(msgspec.json.encode, groups))
