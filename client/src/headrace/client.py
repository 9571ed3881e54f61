"""Gateway, clusters and reports, under the module name that dask_gateway has for them."""

from headrace import (
    ClusterReport,
    ClusterStatus,
    Gateway,
    GatewayCluster,
    GatewayClusterError,
    GatewaySecurity,
    GatewayServerError,
    GatewayWarning,
)

__all__ = [
    "ClusterReport",
    "ClusterStatus",
    "Gateway",
    "GatewayCluster",
    "GatewayClusterError",
    "GatewaySecurity",
    "GatewayServerError",
    "GatewayWarning",
]
