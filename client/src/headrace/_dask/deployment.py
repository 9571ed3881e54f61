"""The user, the server and its profiles, as Python objects."""

from __future__ import annotations

from dataclasses import dataclass

from headrace._wire.words import word
from headrace.v1 import auth_service_pb2, options_service_pb2


@dataclass(frozen=True, slots=True)
class User:
    """A user: id, groups, roles ("user", "admin"), and the method of the login."""

    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    method: str

    @classmethod
    def from_proto(cls, user: auth_service_pb2.User) -> User:
        """Make it from the user of the contract."""
        groups = tuple(group.removeprefix("groups/") for group in user.groups)
        roles = tuple(word(auth_service_pb2.Role.DESCRIPTOR, role).lower() for role in user.roles)
        return cls(user.name.removeprefix("users/"), groups, roles, user.method)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of cluster that the administrators offer: its key for ``profile=``, a label and a sentence."""

    key: str
    label: str
    description: str

    @classmethod
    def from_proto(cls, profile: options_service_pb2.Profile) -> Profile:
        """Make it from the profile of the contract."""
        return cls(profile.key, profile.label, profile.description)


@dataclass(frozen=True, slots=True)
class LoginMethod:
    """A way to log in: its key for ``method=``, a label, and what it takes ("password" or "token")."""

    method: str
    label: str
    credential: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server.

    Attributes
    ----------
    version
        Version of headrace, such as "0.1.0".
    login_methods
        Ways to log in, in the order in which the server tries them.
    features
        What the deployment offers: "api_tokens", "dashboard_links".
    """

    version: str
    login_methods: tuple[LoginMethod, ...]
    features: frozenset[str]

    @classmethod
    def from_proto(cls, info: auth_service_pb2.ServerInfo) -> ServerInfo:
        """Make it from the answer of GetServerInfo."""
        kinds = auth_service_pb2.CredentialKind.DESCRIPTOR
        methods = [
            LoginMethod(method.method, method.label, word(kinds, method.credential_kind).lower())
            for method in info.login_methods
        ]
        features = [word(auth_service_pb2.Feature.DESCRIPTOR, feature).lower() for feature in info.features]
        return cls(info.version, tuple(methods), frozenset(features))
