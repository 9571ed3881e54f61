"""How a user proves who they are: what is sent to AuthService.Login."""

from __future__ import annotations

import getpass
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from headrace._target import config as _config
from headrace.errors import InvalidRequest, Unauthenticated, Violation
from headrace.v1 import auth_service_pb2


class GatewayAuth(ABC):
    """A way to log in. Subclass it for one of your own, and name the class in ``headrace.auth.type``."""

    @abstractmethod
    def login_request(self) -> auth_service_pb2.LoginRequest:
        """Returns what to log in with. Called for each login; may read files."""

    def cache_key(self) -> object:
        """Two objects with equal keys log in as the same user and share the access token within a process."""
        return self.login_request().SerializeToString(deterministic=True)


class BasicAuth(GatewayAuth):
    """Logs in with a user name and a password.

    Parameters
    ----------
    username
        Name of the user; your login name by default.
    password
        Password; empty by default, which only a deployment in development mode accepts.
    """

    def __init__(self, username: str | None = None, password: str | None = None) -> None:
        self.username = username if username is not None else getpass.getuser()
        self.password = password or ""

    def login_request(self) -> auth_service_pb2.LoginRequest:
        credential = auth_service_pb2.PasswordCredential(username=self.username, password=self.password)
        return auth_service_pb2.LoginRequest(password=credential)

    def __repr__(self) -> str:
        return f"BasicAuth<{self.username}>"


class TokenAuth(GatewayAuth):
    """Logs in with an API token.

    Parameters
    ----------
    token
        The token's secret. By default the environment variable ``HEADRACE_TOKEN``.
    token_file
        A file that has it; read anew for each login, so that it may be rotated.
    method
        Authenticator of the deployment that understands the token; headrace's own API tokens by default.
    """

    def __init__(self, token: str | None = None, token_file: str | None = None, method: str = "") -> None:
        self.token = token or (None if token_file else os.environ.get("HEADRACE_TOKEN"))
        self.token_file = token_file
        self.method = method
        if not self.token and not self.token_file:
            raise Unauthenticated(
                "TokenAuth has no token: give token= or token_file=, set HEADRACE_TOKEN, or run `headrace login`"
            )

    def login_request(self) -> auth_service_pb2.LoginRequest:
        credential = auth_service_pb2.TokenCredential(method=self.method, token=self._read())
        return auth_service_pb2.LoginRequest(token=credential)

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
    """Logs in with the token that JupyterHub gives to each user's server.

    Parameters
    ----------
    api_token
        The token. By default the environment variable ``JUPYTERHUB_API_TOKEN``, which is set on a hub.
    """

    def __init__(self, api_token: str | None = None) -> None:
        token = api_token or os.environ.get("JUPYTERHUB_API_TOKEN")
        if not token:
            raise Unauthenticated(
                "JupyterHubAuth has no token: JUPYTERHUB_API_TOKEN is not set; outside of a hub give api_token="
            )
        super().__init__(token=token, method="jupyterhub")


_BY_NAME: Mapping[str, type[GatewayAuth]] = {"basic": BasicAuth, "token": TokenAuth, "jupyterhub": JupyterHubAuth}


def get_auth(auth: GatewayAuth | str | type[GatewayAuth] | None = None) -> GatewayAuth:
    """Return a way to log in.

    Parameters
    ----------
    auth
        One that is ready, or a class of it, or "basic", "token", "jupyterhub", or the full name of a class. By default
        what ``headrace.auth.type`` names; "basic" where it names nothing. Classes are called with
        ``headrace.auth.kwargs``.

    Raises
    ------
    InvalidRequest
        There is no such class, or it does not take these arguments.
    """
    if isinstance(auth, GatewayAuth):
        return auth
    cls = auth if isinstance(auth, type) else _find(auth or _config.get_text("auth.type") or "basic")
    kwargs = _config.get_mapping("auth.kwargs")
    try:
        return cls(**kwargs)
    except TypeError as error:
        raise InvalidRequest.of(Violation("headrace.auth.kwargs", f"do not fit {cls.__name__}: {error}")) from error


def _find(name: str) -> type[GatewayAuth]:
    if name in _BY_NAME:
        return _BY_NAME[name]
    module, _, attribute = name.rpartition(".")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (isinstance(found, type) and issubclass(found, GatewayAuth)):
        known = ", ".join(_BY_NAME)
        description = f"{name!r} is neither one of {known} nor the full name of a subclass of headrace.GatewayAuth"
        raise InvalidRequest.of(Violation("headrace.auth.type", description))
    return found
