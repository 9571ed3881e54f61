"""Tokens of service accounts, as a real API server reviews them. No pod runs: a token is bound to the object alone."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.held_port import held_ports
from tests.kubernetes.running import Kubernetes, until

from headrace.errors import BadCredentials, InternalError, PermissionDenied, StoreUnavailable
from headrace_auth.authenticators.kubernetes import Pods, Settings
from headrace_auth.authenticators.kubernetes_api import KubernetesApi

Authenticator = Callable[..., Pods]


@pytest.fixture(scope="module")
def kubeconfig(kubernetes: Kubernetes) -> Path:
    return kubernetes.kubeconfig


@pytest.fixture
async def pods(kubeconfig: Path, namespace: str) -> AsyncIterator[Authenticator]:
    """Makes an authenticator with some settings, in the module's namespace."""
    apis: list[KubernetesApi] = []

    def make(kubeconfig: Path = kubeconfig, **settings: object) -> Pods:
        apis.append(KubernetesApi(kubeconfig))
        return Pods(Settings.model_validate(settings), namespace, apis[-1])

    yield make
    for api in apis:
        await api.close()


@pytest.fixture
def pod(kubernetes: Kubernetes, namespace: str) -> Iterator[str]:
    """A pod that nothing runs."""
    # Of the pods before it, the API server still knows when it reviews a token: none has the name of another.
    name = f"notebook-{secrets.token_hex(3)}"
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}
    kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {"hub.jupyter.org/username": "ann"},
                "labels": {"user": "bob"},
            },
            "spec": {"schedulerName": "nobody", "containers": [container]},
        }
    )
    yield name
    kubernetes.kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found", "--wait=false")


def token_of(kubernetes: Kubernetes, namespace: str, pod: str = "", audience: str = "") -> str:
    bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod] if pod else []
    return kubernetes.kubectl(
        "create", "token", "default", "-n", namespace, *bound, *([f"--audience={audience}"] if audience else [])
    )


async def named(authenticator: Pods, token: str) -> str:
    identity = await authenticator.check_token(token)
    assert identity is not None
    return identity.name


async def test_a_pods_default_token_and_one_for_headrace_are_its_service_account(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator
) -> None:
    for audience in ("", "headrace"):
        assert await named(pods(), token_of(kubernetes, namespace, pod, audience)) == f"{namespace}:default"


@pytest.mark.parametrize("audience", ["headrace/prod", "vault"])
async def test_a_token_for_another_service_is_refused(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator, audience: str
) -> None:
    with pytest.raises(BadCredentials, match="mount a projected service account token with the audience 'headrace'"):
        await pods().check_token(token_of(kubernetes, namespace, pod, audience))


async def test_a_token_without_a_pod_is_refused(kubernetes: Kubernetes, namespace: str, pods: Authenticator) -> None:
    with pytest.raises(BadCredentials, match="bound to no pod"):
        await pods().check_token(token_of(kubernetes, namespace))


async def test_a_forged_token_that_names_a_real_pod_is_refused(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator
) -> None:
    head, content, signature = token_of(kubernetes, namespace, pod).split(".")
    claims = json.loads(base64.urlsafe_b64decode(content + "=="))
    claims["sub"] = f"system:serviceaccount:{namespace}:admin"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for text in (f"{head}.{forged}.{signature}", f"{none}.{forged}.", f"{head}.{content}.{signature[:-4]}AAAA"):
        with pytest.raises(BadCredentials, match="does not accept"):
            await pods().check_token(text)


async def test_the_token_of_a_pod_that_is_gone_is_refused(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator
) -> None:
    token = token_of(kubernetes, namespace, pod)
    assert await named(pods(), token)
    kubernetes.kubectl("delete", "pod", pod, "-n", namespace, "--grace-period=0", "--force")
    until(lambda: not kubernetes.get("pods", "-n", namespace)["items"], "the pod is gone")

    async def refused() -> bool:
        try:
            await pods(cache_seconds=0).check_token(token)
        except BadCredentials:
            return True
        return False

    async with asyncio.timeout(120):
        while not await refused():  # noqa: ASYNC110 the API server keeps what it has verified for some seconds
            await asyncio.sleep(0.5)


async def test_pods_of_other_namespaces_are_refused(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator
) -> None:
    token = token_of(kubernetes, namespace, pod)
    with pytest.raises(PermissionDenied, match="may not log in"):
        await pods(namespaces=["elsewhere"]).check_token(token)
    assert await named(pods(namespaces=["*"]), token) == f"{namespace}:default"


async def test_where_a_hub_makes_the_pods_a_user_is_whom_it_has_written_on_them(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator
) -> None:
    token = token_of(kubernetes, namespace, pod)
    assert await named(pods(spawners={namespace: {}}), token) == f"{namespace}:ann"
    assert await named(pods(spawners={namespace: {"prefix": ""}}), token) == "ann"
    assert await named(pods(spawners={namespace: {"label": "user", "prefix": ""}}), token) == "bob"
    with pytest.raises(BadCredentials, match="has no annotation owner"):
        await pods(spawners={namespace: {"annotation": "owner"}}).check_token(token)


async def test_an_auth_that_may_not_ask_says_which_right_it_needs(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator, tmp_path: Path
) -> None:
    powerless = changed(kubernetes, tmp_path, user={"token": token_of(kubernetes, namespace)})
    with pytest.raises(InternalError, match="needs the right to create tokenreviews"):
        await pods(powerless).check_token(token_of(kubernetes, namespace, pod))


async def test_while_the_api_server_is_away_logins_of_pods_say_so_and_may_be_repeated(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator, tmp_path: Path
) -> None:
    away = changed(kubernetes, tmp_path, server="https://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match="the Kubernetes API server does not answer"):
        await pods(away).check_token(token_of(kubernetes, namespace, pod))


async def test_pods_log_in_again_once_the_api_server_is_back(
    kubernetes: Kubernetes, namespace: str, pod: str, pods: Authenticator, tmp_path: Path
) -> None:
    token = token_of(kubernetes, namespace, pod)
    with held_ports(1) as (port,):
        way = Way(kubernetes, port)
        authenticator = pods(changed(kubernetes, tmp_path, server=await way.open()), cache_seconds=0)
        assert await named(authenticator, token) == f"{namespace}:default"
        await way.close()
        with pytest.raises(StoreUnavailable):
            await authenticator.check_token(token)
        await way.open()
        async with asyncio.timeout(120):
            while not await _logs_in(authenticator, token):  # noqa: ASYNC110 auth pauses for a second
                await asyncio.sleep(0.1)
        await way.close()


async def _logs_in(authenticator: Pods, token: str) -> bool:
    try:
        return bool(await named(authenticator, token))
    except StoreUnavailable:
        return False


class Way:
    """The way to the API server, which can be cut."""

    def __init__(self, kubernetes: Kubernetes, port: int) -> None:
        config = yaml.safe_load(kubernetes.kubectl("config", "view", "--minify"))
        there = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._there = there.hostname, there.port or 443
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return f"https://127.0.0.1:{self._port}"

    async def close(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self._there)
        self._writers |= {writer, out}
        await asyncio.gather(_pass_on(reader, out), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
    writer.transport.abort()


def changed(kubernetes: Kubernetes, directory: Path, server: str = "", user: dict[str, Any] | None = None) -> Path:
    """Writes the kubeconfig with another server or user."""
    config = yaml.safe_load(kubernetes.kubectl("config", "view", "--raw", "--flatten", "--minify"))
    if server:
        # The certificate need not be for the address of the test's own.
        config["clusters"][0]["cluster"] = {"server": server, "insecure-skip-tls-verify": True}
    if user:
        config["users"][0]["user"] = user
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
