"""Ways to log in: what is sent to AuthService.Login."""

from __future__ import annotations

import getpass
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from headrace._target import config
from headrace._target.pod import Pod
from headrace.arguments import checked
from headrace.errors import InvalidRequest, Unauthenticated, Violation
from headrace.v1 import auth_service_pb2

_TOKEN_VARIABLE = "HEADRACE_TOKEN"  # noqa: S105 - its name


class GatewayAuth(ABC):
    """A way to log in.

    For one of your own, make a subclass and name it in ``headrace.auth.type``.
    """

    @abstractmethod
    def login_request(self) -> auth_service_pb2.LoginRequest:
        """Return what to log in with. It is called for each login and may read files."""

    def cache_key(self) -> object:
        """Return a key that is equal for objects that log in as the same user; they share access tokens."""
        return self.login_request().SerializeToString(deterministic=True)


class BasicAuth(GatewayAuth):
    """Log in with a user name and a password.

    Parameters
    ----------
    username
        Name of the user. Default: your login name on this machine.
    password
        Password. Default: empty, which only a deployment in development mode accepts.
    method
        Way to log in, as listed by `Gateway.server_info`. Default: all that take a password, in the server's order.
    """

    @checked
    def __init__(self, username: str | None = None, password: str | None = None, method: str = "") -> None:
        self.username = username if username is not None else getpass.getuser()
        self.password = password or ""
        self.method = method

    def login_request(self) -> auth_service_pb2.LoginRequest:
        credential = auth_service_pb2.PasswordCredential(username=self.username, password=self.password)
        return auth_service_pb2.LoginRequest(method=self.method, password=credential)

    def __repr__(self) -> str:
        return f"BasicAuth<{self.username}>"


class TokenAuth(GatewayAuth):
    """Log in with a token.

    Parameters
    ----------
    token
        The secret. Default: the environment variable ``HEADRACE_TOKEN``.
    token_file
        File that has the secret. It is read for each login, so that the token may be rotated.
    method
        Way to log in, as listed by `Gateway.server_info`. Default: all that take a token, in the server's order.

    Raises
    ------
    Unauthenticated
        No token is given.
    """

    @checked
    def __init__(self, token: str | None = None, token_file: str | None = None, method: str = "") -> None:
        self.token = token or (None if token_file else os.environ.get(_TOKEN_VARIABLE))
        self.token_file = token_file
        self.method = method
        if not self.token and not self.token_file:
            raise Unauthenticated(
                "TokenAuth has no token: give token= or token_file=, set HEADRACE_TOKEN, or run `headrace login`"
            )

    def login_request(self) -> auth_service_pb2.LoginRequest:
        credential = auth_service_pb2.TokenCredential(token=self._read())
        return auth_service_pb2.LoginRequest(method=self.method, token=credential)

    def _read(self) -> str:
        if self.token:
            return self.token
        assert self.token_file is not None
        try:
            return Path(self.token_file).read_text("utf-8").strip()
        except OSError as error:
            raise Unauthenticated(f"the token file {self.token_file} cannot be read: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.token_file or '***'}>"


class JupyterHubAuth(TokenAuth):
    """Log in with the token that JupyterHub gives to each user's server.

    Parameters
    ----------
    api_token
        The token. Default: the environment variable ``JUPYTERHUB_API_TOKEN``, which the hub sets.

    Raises
    ------
    Unauthenticated
        No token is given, and the environment variable is not set.
    """

    @checked
    def __init__(self, api_token: str | None = None) -> None:
        token = api_token or os.environ.get("JUPYTERHUB_API_TOKEN")
        if not token:
            raise Unauthenticated(
                "JupyterHubAuth has no token: JUPYTERHUB_API_TOKEN is not set; outside of JupyterHub give api_token="
            )
        super().__init__(token=token, method="jupyterhub")

    @property
    def api_token(self) -> str | None:
        """The token."""
        return self.token


class KubernetesAuth(TokenAuth):
    """Log in as the service account of the Kubernetes pod that this program runs in.

    Parameters
    ----------
    token_file
        File that has the service account's token. Default: the one at ``/var/run/secrets/headrace.dev/user-token``,
        which is good for nothing but headrace, or else the token that each pod has by default. It is read for each
        login, since Kubernetes renews it.
    method
        Way to log in, as listed by `Gateway.server_info`.

    Raises
    ------
    Unauthenticated
        The program does not run in a pod that has a token, and none is given.
    """

    @checked
    def __init__(self, token_file: str | None = None, method: str = "kubernetes") -> None:
        super().__init__(token_file=token_file or str(_token_of_pod()), method=method)

    def cache_key(self) -> object:
        """The same for all tokens in the file: they are of one service account."""
        return self.token_file, self.method


def _token_of_pod() -> Path:
    pod = Pod.find()
    if pod is None:
        raise Unauthenticated(
            "KubernetesAuth works in a pod of Kubernetes, and this program runs in none: log in in another way"
        )
    if pod.token_file is None:
        raise Unauthenticated(
            f"this pod has no service account token: there is no {' and no '.join(map(str, pod.token_files[1:]))}; "
            "set automountServiceAccountToken of the pod to true, or mount a projected token with the audience "
            f"headrace at {pod.token_files[1]}, or log in in another way: headrace.auth.type"
        )
    return pod.token_file


_BY_NAME: Mapping[str, type[GatewayAuth]] = {
    "basic": BasicAuth,
    "token": TokenAuth,
    "jupyterhub": JupyterHubAuth,
    "kubernetes": KubernetesAuth,
}
# Configuration that was written for dask-gateway names its classes.
_OF_DASK_GATEWAY: Mapping[str, type[GatewayAuth]] = {
    f"{module}.{cls.__name__}": cls
    for module in ("dask_gateway", "dask_gateway.auth")
    for cls in (BasicAuth, JupyterHubAuth)
}


@checked
def get_auth(auth: GatewayAuth | str | type[GatewayAuth] | None = None) -> GatewayAuth:
    """Return a way to log in.

    Parameters
    ----------
    auth
        An object, a class, "basic", "token", "jupyterhub", "kubernetes", or the full name of a class. Classes are
        called with ``headrace.auth.kwargs``. Default: what ``headrace.auth.type`` names, or "token" if the environment
        variable ``HEADRACE_TOKEN`` is set, or "kubernetes" in a pod that has a service account's token, or "basic".

    Raises
    ------
    InvalidRequest
        There is no such class, or it does not take these arguments.
    Unauthenticated
        The class needs a token, and none is given.
    """
    if isinstance(auth, GatewayAuth):
        return auth
    cls = auth if isinstance(auth, type) else _find(auth or config.get_text("auth.type") or _default())
    kwargs = config.get_mapping("auth.kwargs")
    try:
        return cls(**kwargs)
    except TypeError as error:
        raise InvalidRequest.of(Violation("headrace.auth.kwargs", f"do not fit {cls.__name__}: {error}")) from error


def _default() -> str:
    if os.environ.get(_TOKEN_VARIABLE):
        return "token"
    pod = Pod.find()
    return "basic" if pod is None or pod.token_file is None else "kubernetes"


def _find(name: str) -> type[GatewayAuth]:
    if (known := _BY_NAME.get(name) or _OF_DASK_GATEWAY.get(name)) is not None:
        return known
    module, _, attribute = name.rpartition(".")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (isinstance(found, type) and issubclass(found, GatewayAuth)):
        names = ", ".join(_BY_NAME)
        description = f"{name!r} is neither one of {names} nor the full name of a subclass of headrace.GatewayAuth"
        raise InvalidRequest.of(Violation("headrace.auth.type", description))
    return found
