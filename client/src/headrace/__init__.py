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
    from headrace._dask.gateway import Gateway
    from headrace._dask.options import Options
    from headrace._dask.report import ClusterEvent, ClusterReport, ClusterStatus, User, Worker
    from headrace._dask.security import GatewaySecurity
    from headrace._target.auth import BasicAuth, GatewayAuth, JupyterHubAuth, TokenAuth, get_auth
    from headrace.errors import GatewayClusterError, GatewayServerError, GatewayWarning

__version__: str

__all__ = [
    "BasicAuth",
    "ClusterEvent",
    "ClusterReport",
    "ClusterStatus",
    "Gateway",
    "GatewayAuth",
    "GatewayCluster",
    "GatewayClusterError",
    "GatewaySecurity",
    "GatewayServerError",
    "GatewayWarning",
    "JupyterHubAuth",
    "Options",
    "TokenAuth",
    "User",
    "Worker",
    "__version__",
    "get_auth",
]

_HOMES = {
    "BasicAuth": "_target.auth",
    "GatewayAuth": "_target.auth",
    "JupyterHubAuth": "_target.auth",
    "TokenAuth": "_target.auth",
    "get_auth": "_target.auth",
    "Gateway": "_dask.gateway",
    "GatewayCluster": "_dask.cluster",
    "Options": "_dask.options",
    "ClusterEvent": "_dask.report",
    "ClusterReport": "_dask.report",
    "ClusterStatus": "_dask.report",
    "User": "_dask.report",
    "Worker": "_dask.report",
    "GatewaySecurity": "_dask.security",
    "GatewayClusterError": "errors",
    "GatewayServerError": "errors",
    "GatewayWarning": "errors",
}


def __getattr__(name: str) -> object:
    # Services and agents import headrace for its stubs and errors: they must not load Dask or gRPC by that.
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
