"""Pods of a Kubernetes cluster, by the tokens of their service accounts.

A user is a service account, ``<namespace>:<service account>``. In the namespace of a trusted spawner, such as a
JupyterHub, which writes the user's name on each pod, it is the user of that name, ``<namespace>:<name>``.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from cachetools import TTLCache
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from headrace.errors import BadCredentials, GatewayServerError, PermissionDenied, TokenExpired
from headrace_auth.authenticators.base import AuthenticatorSettings, Identity
from headrace_auth.authenticators.kubernetes_tokens import Claims, read_claims
from headrace_auth.login_queue import LoginQueue
from headrace_chassis.identity.service_account import PodAccount

if TYPE_CHECKING:
    from headrace_auth.authenticators.kubernetes_api import KubernetesApi

ALL = "*"
AUDIENCE = "headrace"
OWN_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Logins that wait for the API server, of all pods and of one.
PLACES, PLACES_OF_POD = 128, 8
_CACHED_TOKENS = 10_000
_CLOCK_SKEW_SECONDS = 60

Namespace = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?|\*)$")]
_MARK = r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"


class SpawnerSettings(BaseModel):
    """What a trusted spawner, such as a JupyterHub, writes on the pods of its users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotation: str = Field(
        default="",
        pattern=f"{_MARK}|^$",
        description="Annotation with the user's name. Default, without `label`: hub.jupyter.org/username.",
    )
    label: str = Field(default="", pattern=f"{_MARK}|^$", description="Label with the user's name, instead.")
    prefix: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[^/:\s]*$",
        description='Put before the user\'s name, instead of the namespace and ":". Set it to "" where users have the '
        "same names as elsewhere, such as those of the JupyterHub; all such spawners then share their users.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.annotation and self.label:
            raise ValueError("set annotation or label, not both")
        return self

    @property
    def mark(self) -> str:
        return self.label or self.annotation or "hub.jupyter.org/username"


class Settings(AuthenticatorSettings):
    """Settings of logins from pods."""

    label: str = "Pod of the Kubernetes cluster"
    namespaces: tuple[Namespace, ...] = Field(
        default=(),
        description='Namespaces whose pods may log in. "*": all. Default: the namespace of auth itself, and those of '
        "`spawners`.",
    )
    spawners: dict[Namespace, SpawnerSettings] = Field(
        default_factory=dict[Namespace, SpawnerSettings],
        description="Namespaces of spawners that write on each pod whose it is: a mapping of the namespace to "
        "`annotation` or `label`, and `prefix`. Whoever may create pods there may act as any of its users; pods "
        "without the mark are refused.",
    )
    audience: str = Field(
        default=AUDIENCE,
        min_length=1,
        max_length=256,
        pattern=r"^[^/\s]+$",
        description="Audience of the projected service account tokens that log in.",
    )
    accept_default_tokens: bool = Field(
        default=True,
        description="Accept also the token that each pod has by default. It is good for the API server too: without "
        "this, only projected tokens with our `audience` log in, which are good for nothing else.",
    )
    namespace_groups: bool = Field(
        default=True, description="Make users members of a group with the name of their namespace."
    )
    cache_seconds: float = Field(
        default=60,
        ge=0,
        le=3600,
        description="Seconds for which the API server's answer about a token is kept: a pod that is deleted may log in "
        "that much longer.",
    )
    kubeconfig: Path | None = Field(
        default=None, description="File of how to reach the API server. Default: as the pod of auth does."
    )


class Pods:
    """Checks tokens of service accounts, with the API server."""

    def __init__(self, settings: Settings, own_namespace: str, api: KubernetesApi) -> None:
        self._settings = settings
        self._namespaces = frozenset(settings.namespaces or [own_namespace]) | settings.spawners.keys()
        self._api = api
        self._queue = LoginQueue(PLACES, PLACES_OF_POD, "many logins of pods wait for the Kubernetes API server")
        self._known: TTLCache[bytes, Identity] = TTLCache(_CACHED_TOKENS, settings.cache_seconds, time.monotonic)

    async def check_token(self, token: str) -> Identity | None:
        claims = read_claims(token)
        if claims is None:
            return None
        self._check(claims)
        key = hashlib.sha256(token.encode()).digest()
        if (known := self._known.get(key)) is not None:
            return known
        with self._queue.place(f"{claims.namespace}/{claims.pod}"):
            identity = await self._review(token, claims)
        self._known[key] = identity
        return identity

    def _check(self, claims: Claims) -> None:
        """Refuse what no answer of the API server could make good."""
        self._check_namespace(claims.namespace)
        if not claims.pod:
            raise BadCredentials(
                "the service account token is bound to no pod, so that it could be used anywhere: log in with the "
                "token that the pod itself has"
            )
        if claims.ends is not None and claims.ends < time.time() - _CLOCK_SKEW_SECONDS:
            raise TokenExpired(
                "the service account token has expired: Kubernetes renews the pod's file, so read that again"
            )
        if self._settings.audience not in claims.audiences and not self._settings.accept_default_tokens:
            raise BadCredentials(f"the service account token is for another service; {self._advice()}")

    def _check_namespace(self, namespace: str) -> None:
        if ALL not in self._namespaces and namespace not in self._namespaces:
            raise PermissionDenied(
                f"pods of the namespace {namespace[:63]!r} may not log in to headrace: ask its administrator to add "
                "the namespace to the setting `namespaces` of the authenticator"
            )

    async def _review(self, token: str, claims: Claims) -> Identity:
        audience = self._settings.audience if self._settings.audience in claims.audiences else ""
        account = await self._api.review(token, audience)
        if account is None:
            raise BadCredentials(
                "the Kubernetes API server does not accept the service account token: it has expired, its pod is gone, "
                f"or it is for another service; {self._advice()}"
            )
        self._check_namespace(account.namespace)
        groups = (account.namespace,) if self._settings.namespace_groups else ()
        return Identity(await self._name(account), groups, ends=claims.ends)

    async def _name(self, account: PodAccount) -> str:
        spawner = self._settings.spawners.get(account.namespace)
        if spawner is None:
            return f"{account.namespace}:{account.service_account}"
        pod = await self._api.pod(account.namespace, account.pod)
        if pod is None or pod.uid != account.pod_uid:
            raise BadCredentials(f"the pod {account.namespace}/{account.pod} is gone: log in from one that runs")
        name = (pod.labels if spawner.label else pod.annotations).get(spawner.mark, "")
        if not name:
            raise BadCredentials(
                f"the pod {account.namespace}/{account.pod} has no {'label' if spawner.label else 'annotation'} "
                f"{spawner.mark}, which says whose pod it is in this namespace: log in from a pod that its spawner made"
            )
        if spawner.prefix is None:
            return f"{account.namespace}:{name}"
        if ":" in name:  # it could be a service account's name, or that of another spawner's user
            raise PermissionDenied(
                f"{name[:80]!r} cannot be a user here, because of the colon: ask the administrator to rename the user, "
                "or to remove `prefix` from the spawner's settings"
            )
        return spawner.prefix + name

    def _advice(self) -> str:
        return f"mount a projected service account token with the audience {self._settings.audience!r}"


def create(settings: Settings, stack: AsyncExitStack) -> Pods:
    try:
        from headrace_auth.authenticators.kubernetes_api import KubernetesApi
    except ModuleNotFoundError as error:
        raise GatewayServerError(
            f"the authenticator kubernetes needs the package {error.name}: install headrace-auth[kubernetes]"
        ) from None
    api = KubernetesApi(settings.kubeconfig)
    stack.push_async_callback(api.close)
    return Pods(settings, _own_namespace(settings), api)


def _own_namespace(settings: Settings) -> str:
    if settings.namespaces:
        return ""
    try:
        return OWN_NAMESPACE_FILE.read_text("ascii").strip()
    except OSError:
        if settings.spawners:
            return ""
        raise GatewayServerError(
            "the authenticator kubernetes does not know whom to let in: auth runs in no pod, so set `namespaces`"
        ) from None
