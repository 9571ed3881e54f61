"""Options of a new cluster, under the module name that dask_gateway has for them."""

from headrace import Options

__all__ = ["Options"]
