"""Ways to log in, under the module name that dask_gateway has for them."""

from headrace._target.auth import BasicAuth, GatewayAuth, JupyterHubAuth, KubernetesAuth, TokenAuth, get_auth

__all__ = ["BasicAuth", "GatewayAuth", "JupyterHubAuth", "KubernetesAuth", "TokenAuth", "get_auth"]
