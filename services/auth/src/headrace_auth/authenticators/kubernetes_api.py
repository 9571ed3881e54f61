"""The two questions to a Kubernetes API server: whose is a token, and what is written on a pod."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from headrace.errors import GatewayServerError, InternalError, StoreUnavailable
from headrace_chassis.identity.service_account import PodAccount, reviewed
from headrace_chassis.logs import get_logger

AT_ONCE = 16
_TIMEOUT_SECONDS = 3.0
_PAUSE_SECONDS = 1.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class PodMarks:
    """What is written on a pod."""

    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class KubernetesApi:
    """The API server, as this service's own service account or a kubeconfig reaches it.

    Raises
    ------
    GatewayServerError
        This process runs in no pod and has no kubeconfig.
    """

    def __init__(self, kubeconfig: Path | None) -> None:
        self._kubeconfig = kubeconfig
        self._configuration: Any = client.Configuration()
        self._opened: Any = None
        self._opening = asyncio.Lock()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._paused_until = 0.0  # on the monotonic clock
        if kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=self._configuration)
            except config.ConfigException as error:
                raise GatewayServerError(
                    f"the authenticator kubernetes needs a Kubernetes to ask, and there is none: {error} Run auth in a "
                    "pod with a service account token, or set kubeconfig"
                ) from error

    async def review(self, token: str, audience: str) -> PodAccount | None:
        """Return whose token it is, or None if it is not valid for the audience ("": the API server's own)."""
        spec = client.V1TokenReviewSpec(token=token, audiences=[audience] if audience else None)
        api = client.AuthenticationV1Api(await self._client())
        answer = await self._ask(
            lambda: api.create_token_review(client.V1TokenReview(spec=spec), _request_timeout=_TIMEOUT_SECONDS),
            "create tokenreviews (a ClusterRole)",
        )
        status = answer.status
        # An API server that knows no audiences answers with none: such an answer is for its own audience.
        if not status or not status.authenticated or (audience and audience not in (status.audiences or ())):
            return None
        return reviewed(status.user.username or "", status.user.extra or {})

    async def pod(self, namespace: str, name: str) -> PodMarks | None:
        """Return what is written on a pod, or None if there is no such pod."""
        api = client.CoreV1Api(await self._client())
        try:
            pod = await self._ask(
                lambda: api.read_namespaced_pod(name, namespace, _request_timeout=_TIMEOUT_SECONDS),
                f"get pods in the namespace {namespace}",
            )
        except _NotFoundError:
            return None
        return PodMarks(pod.metadata.uid, pod.metadata.labels or {}, pod.metadata.annotations or {})

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _client(self) -> Any:
        async with self._opening:
            if self._opened is None:
                if self._kubeconfig is not None:
                    await config.load_kube_config(
                        str(self._kubeconfig), client_configuration=self._configuration, persist_config=False
                    )
                self._configuration.connection_pool_maxsize = AT_ONCE
                self._opened = client.ApiClient(configuration=self._configuration)
        return self._opened

    async def _ask(self, request: Callable[[], Awaitable[Any]], needed: str) -> Any:
        try:
            async with self._turns:
                if time.monotonic() < self._paused_until:
                    raise _away()  # without waiting as long as the one that found it out
                return await request()
        except client.ApiException as error:
            if error.status == 404:
                raise _NotFoundError from None
            if error.status in {401, 403}:
                log.error("the API server refuses our question", needed=needed, status=error.status)  # noqa: TRY400
                raise InternalError(
                    "pods cannot log in: headrace's auth service may not ask the Kubernetes API server about them; "
                    f"tell the administrator that its service account needs the right to {needed}"
                ) from None
            raise self._pause(error.reason or str(error.status)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._pause(str(error) or type(error).__name__) from None

    def _pause(self, reason: str) -> StoreUnavailable:
        log.warning("the Kubernetes API server does not answer", reason=reason)
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        return _away()


class _NotFoundError(Exception):
    pass


def _away() -> StoreUnavailable:
    return StoreUnavailable(
        "pods cannot log in now, because the Kubernetes API server does not answer headrace; running clusters and "
        "those who are logged in are not affected; repeat the login in a minute"
    )
