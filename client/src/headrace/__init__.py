"""Your own Dask clusters on a shared platform.

>>> from headrace import Gateway
>>> gateway = Gateway()  # doctest: +SKIP
>>> with gateway.new_cluster() as cluster:  # doctest: +SKIP
...     cluster.adapt(minimum=0, maximum=8)
...     client = cluster.get_client()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace._dask.cluster import GatewayCluster
    from headrace._dask.cluster_details import ClusterEvent, Worker, WorkerExit
    from headrace._dask.cluster_report import ClusterReport, ClusterStatus, Condition, WorkerGroupReport
    from headrace._dask.deployment import LoginMethod, Profile, ServerInfo, User
    from headrace._dask.gateway import Gateway
    from headrace._dask.options import Options
    from headrace._dask.security import GatewaySecurity
    from headrace._target.auth import BasicAuth, GatewayAuth, JupyterHubAuth, KubernetesAuth, TokenAuth, get_auth
    from headrace.access import Share
    from headrace.errors import GatewayClusterError, GatewayServerError, GatewayWarning
    from headrace.v1.enums import Right

__version__: str

__all__ = [
    "BasicAuth",
    "ClusterEvent",
    "ClusterReport",
    "ClusterStatus",
    "Condition",
    "Gateway",
    "GatewayAuth",
    "GatewayCluster",
    "GatewayClusterError",
    "GatewaySecurity",
    "GatewayServerError",
    "GatewayWarning",
    "JupyterHubAuth",
    "KubernetesAuth",
    "LoginMethod",
    "Options",
    "Profile",
    "Right",
    "ServerInfo",
    "Share",
    "TokenAuth",
    "User",
    "Worker",
    "WorkerExit",
    "WorkerGroupReport",
    "__version__",
    "get_auth",
]

_HOMES = {
    "BasicAuth": "_target.auth",
    "ClusterEvent": "_dask.cluster_details",
    "ClusterReport": "_dask.cluster_report",
    "ClusterStatus": "_dask.cluster_report",
    "Condition": "_dask.cluster_report",
    "Gateway": "_dask.gateway",
    "GatewayAuth": "_target.auth",
    "GatewayCluster": "_dask.cluster",
    "GatewayClusterError": "errors",
    "GatewaySecurity": "_dask.security",
    "GatewayServerError": "errors",
    "GatewayWarning": "errors",
    "JupyterHubAuth": "_target.auth",
    "KubernetesAuth": "_target.auth",
    "LoginMethod": "_dask.deployment",
    "Options": "_dask.options",
    "Profile": "_dask.deployment",
    "Right": "v1.enums",
    "ServerInfo": "_dask.deployment",
    "Share": "access",
    "TokenAuth": "_target.auth",
    "User": "_dask.deployment",
    "Worker": "_dask.cluster_details",
    "WorkerExit": "_dask.cluster_details",
    "WorkerGroupReport": "_dask.cluster_report",
    "get_auth": "_target.auth",
}


def __getattr__(name: str) -> object:
    # Services and agents import headrace for its stubs and errors, and must not load Dask or gRPC.
    if name == "__version__":
        from importlib.metadata import version

        return version("headrace")
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    try:
        if name in {"Gateway", "GatewayCluster"}:
            importlib.import_module("headrace._wire.grpc_import")
        return getattr(importlib.import_module(f"headrace.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"dask", "distributed", "tornado"}:
            raise ImportError(f"headrace.{name} needs Dask: pip install 'headrace[dask]'") from error
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
