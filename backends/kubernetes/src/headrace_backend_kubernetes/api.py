"""Requests to the API server, by the official client: bounded in rate and number, retried, counted.

The client's generated functions are called without their decorator, which would build a model of each body and lose
the fields that the model does not have. So the API server, and not the client, judges what a pod may contain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from kubernetes.aio import client, config
from kubernetes.aio.client import ApiClient, Configuration, CoreV1Api
from kubernetes.aio.client.rest import RESTClientObject

from headrace.backoff import delays
from headrace_backend_kubernetes import metrics
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.faults import ApiError, Unreachable, silent
from headrace_backend_kubernetes.objects import (
    EventList,
    ListMetadata,
    Pod,
    PodList,
    Status,
    decode_events,
    decode_named,
    decode_pod,
    decode_pods,
    decode_secret,
    decode_status,
)
from headrace_backend_kubernetes.pace import Pace
from headrace_chassis.logs import get_logger
from headrace_controller.backends.contact import ContactRecord

log = get_logger()

_NOT_FOUND = 404
_OF_KUBELETS = frozenset({"pods/log"})  # which may be away by themselves, or have nothing to say
_AT_ONCE = 32
_TRIES = 4
_TRY_SECONDS = 20.0
_TRYING_SECONDS = 20.0  # after these nothing is tried again: a user who waits is told within 40 s
_CONNECT_SECONDS = 5.0
_WATCH_SECONDS = 600
# A watch of pods has a bookmark each minute. The API server sends none to a watch of events.
_SILENT_SECONDS = {"pods": 150.0, "events": _WATCH_SECONDS + 30.0}
_PAGE = 500
_LONGEST_PAUSE = 10.0
_ENDED = "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown"
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ListedPods(NamedTuple):
    """Pods of a list.

    Attributes
    ----------
    unread
        Uids of those that cannot be read.
    version
        Version from which their changes can be watched.
    """

    pods: Sequence[Pod]
    unread: Collection[str]
    version: str


class Api:
    """A connection to the API server. All methods raise `ApiError` if it refuses, `Unreachable` if it is away."""

    def __init__(self, api_client: ApiClient, namespace: str, *, pace: Pace, contact: ContactRecord) -> None:
        self.namespace = namespace
        self._contact = contact
        self._client = api_client
        self._core = CoreV1Api(api_client)
        self._pace = pace
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    # --- pods ---

    async def list_pods(self, namespace: str, selector: str) -> ListedPods:
        """Returns all selected pods, and the version from which their changes can be watched."""
        pods: list[Pod] = []
        unread: set[str] = set()
        page = PodList(metadata=ListMetadata())
        while True:
            page = decode_pods(
                await self._read(
                    "list", "pods", "list_namespaced_pod", namespace=namespace, label_selector=selector,
                    limit=_PAGE, _continue=page.metadata.continue_ or None,
                )
            )  # fmt: skip
            for item in page.items:
                try:
                    pods.append(decode_pod(item))
                except msgspec.MsgspecError as error:  # one pod must not hide the others
                    pod = decode_named(item).metadata
                    unread.add(pod.uid)
                    log.warning("pod cannot be read", namespace=namespace, pod=pod.name, error=str(error))
            if not page.metadata.continue_:
                return ListedPods(pods, unread, page.metadata.resource_version)

    async def get_pod(self, namespace: str, name: str) -> Pod | None:
        """Returns a pod, None if there is none of this name."""
        try:
            return decode_pod(await self._read("get", "pods", "read_namespaced_pod", name=name, namespace=namespace))
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def create_pod(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Pod:
        """Creates a pod, or only has it checked; unknown fields are refused."""
        answer = await self._write(
            "create", "pods", "create_namespaced_pod", namespace=namespace, body=body,
            field_validation="Strict", dry_run="All" if dry_run else None,
        )  # fmt: skip
        return decode_pod(answer)

    async def patch_pod(self, pod: Pod, body: Mapping[str, Any]) -> Pod | None:
        """Merges into this very pod, not another of its name; returns None if it is gone."""
        change = {**body, "metadata": {**body.get("metadata", {}), "uid": pod.uid}}
        try:
            return decode_pod(await self._patch(pod, change, _MERGE_PATCH))
        except ApiError as error:
            if error.is_gone:
                return None
            raise

    async def json_patch_pod(self, pod: Pod, operations: list[dict[str, Any]]) -> Pod:
        """Applies operations to a pod; those of kind "test" make it fail if the pod has changed."""
        return decode_pod(await self._patch(pod, operations, _JSON_PATCH))

    async def delete_pod(self, pod: Pod, *, grace_seconds: int | None = None) -> None:
        """Deletes this very pod, not another of its name; does nothing if it is gone."""
        options: dict[str, Any] = {"preconditions": {"uid": pod.uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._write(
                "delete", "pods", "delete_namespaced_pod", name=pod.name, namespace=pod.namespace, body=options
            )
        except ApiError as error:
            if not error.is_gone:
                raise

    async def delete_pods(self, namespace: str, selector: str, *, only_ended: bool = False) -> None:
        """Deletes all selected pods at once, by one request."""
        await self._write(
            "deletecollection", "pods", "delete_collection_namespaced_pod", namespace=namespace,
            label_selector=selector, field_selector=_ENDED if only_ended else None, body={"gracePeriodSeconds": 0},
        )  # fmt: skip

    # --- secrets, reviews ---

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Creates a secret."""
        await self._write("create", "secrets", "create_namespaced_secret", namespace=namespace, body=body)

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Merges into a secret."""
        await self._write(
            "patch", "secrets", "patch_namespaced_secret", namespace=namespace, name=name, body=body,
            _content_type=_MERGE_PATCH,
        )  # fmt: skip

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Returns what is in a secret, in base64; None if there is none of this name."""
        try:
            return decode_secret(
                await self._read("get", "secrets", "read_namespaced_secret", namespace=namespace, name=name)
            ).data
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Deletes a secret; does nothing if there is none."""
        try:
            await self._write("delete", "secrets", "delete_namespaced_secret", namespace=namespace, name=name)
        except ApiError as error:
            if not error.is_gone:
                raise

    async def review_token(self, body: Mapping[str, Any]) -> bytes:
        """Has a token reviewed; returns the review as JSON."""
        function = _bare(client.AuthenticationV1Api(self._client), "create_token_review")
        return await self._request("create", "tokenreviews", function, body=body)

    # --- events, logs, watches ---

    async def list_events(self, namespace: str, selector: str, limit: int) -> EventList:
        """Returns some events, and the version from which later ones can be watched."""
        return decode_events(
            await self._read(
                "list", "events", "list_namespaced_event", namespace=namespace, field_selector=selector, limit=limit
            )
        )

    @asynccontextmanager
    async def log(
        self, pod: Pod, *, follow: bool, tail_lines: int | None, since_seconds: int | None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Opens the log of a pod's main container, each line with the time at which it was written."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=None if follow else _TRY_SECONDS
        )
        response = await self._open(
            "get", "pods/log", "read_namespaced_pod_log", timeout, name=pod.name, namespace=pod.namespace,
            container=pod.spec.containers[0].name, follow=follow, tail_lines=tail_lines,
            since_seconds=since_seconds, timestamps=True,
        )  # fmt: skip
        try:
            yield _chunks(response)
        finally:
            _abort(response)

    @asynccontextmanager
    async def watch_pods(self, namespace: str, selector: str, version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Watches the selected pods from a version on; yields bytes of lines."""
        async with self._watch(
            "pods", "list_namespaced_pod", version, namespace=namespace, label_selector=selector
        ) as chunks:
            yield chunks

    @asynccontextmanager
    async def watch_events(self, namespace: str, selector: str, version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Watches the selected events from a version on; yields bytes of lines."""
        async with self._watch(
            "events", "list_namespaced_event", version, namespace=namespace, field_selector=selector
        ) as chunks:
            yield chunks

    @asynccontextmanager
    async def _watch(
        self, resource: str, function: str, version: str, **arguments: Any
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS[resource])
        response = await self._open(
            "watch", resource, function, timeout, watch=True, allow_watch_bookmarks=True,
            resource_version=version, timeout_seconds=_WATCH_SECONDS, **arguments,
        )  # fmt: skip
        try:
            yield _chunks(response)
        finally:
            _abort(response)

    # --- how requests are made ---

    async def _patch(self, pod: Pod, body: Any, content_type: str) -> bytes:
        return await self._write(
            "patch", "pods", "patch_namespaced_pod", name=pod.name, namespace=pod.namespace, body=body,
            _content_type=content_type,
        )  # fmt: skip

    async def _read(self, verb: str, resource: str, function: str, **arguments: Any) -> bytes:
        return await self._request(verb, resource, self._function(function), **arguments)

    async def _write(self, verb: str, resource: str, function: str, **arguments: Any) -> bytes:
        async with self._room:
            return await self._request(verb, resource, self._function(function), paced=True, **arguments)

    async def _request(
        self,
        verb: str,
        resource: str,
        function: Callable[..., Awaitable[Any]],
        *,
        paced: bool = False,
        **arguments: Any,
    ) -> bytes:
        """Makes a request until it is answered for good; waits as long as the server says."""
        pauses = delays(0.1, _LONGEST_PAUSE / 4)
        give_up = time.monotonic() + _TRYING_SECONDS
        for tries_left in reversed(range(_TRIES)):
            if paced:
                await self._pace.turn()
            try:
                response = await self._answer(
                    verb, resource, function(_request_timeout=_each_try(), _headers=_plain_json(), **arguments)
                )
                async with response:
                    content = await response.read()
                if response.status < 300:
                    return content
                error = _refusal(response.status, content)
                if not (error.is_passing and tries_left):
                    raise error
                pause = max(next(pauses), min(_LONGEST_PAUSE, _retry_after(response, error)))
            except (aiohttp.ClientError, OSError, TimeoutError) as failure:
                if not tries_left or time.monotonic() > give_up:
                    raise Unreachable(failure) from failure
                pause = next(pauses)
            await asyncio.sleep(pause)
        raise AssertionError  # the last try returns or raises

    async def _open(
        self, verb: str, resource: str, function: str, timeout: aiohttp.ClientTimeout, **arguments: Any
    ) -> aiohttp.ClientResponse:
        """Opens a stream; it is not tried again."""
        try:
            response = await self._answer(
                verb, resource,
                self._function(function)(_request_timeout=timeout, _headers=_plain_json(), **arguments),
            )  # fmt: skip
            if response.status < 300:
                return response
            async with response:
                raise _refusal(response.status, await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            raise Unreachable(failure) from failure

    async def _answer(self, verb: str, resource: str, request: Awaitable[Any]) -> aiohttp.ClientResponse:
        """Returns the response; counts it, and records whether the API server answers at all."""
        began = time.monotonic()
        try:
            response = await _counted(verb, resource, request)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            self._record_silence(resource, Unreachable(failure))
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began > _CONNECT_SECONDS:  # whoever asked does not wait any longer
                self._record_silence(resource, TimeoutError(f"nothing within {_CONNECT_SECONDS:.0f} s"))
            raise
        refusal = ApiError(response.status)
        if refusal.is_of_absence:
            self._record_silence(resource, refusal)
        else:
            self._contact.answered()
        return response

    def _record_silence(self, resource: str, failure: Exception) -> None:
        if resource not in _OF_KUBELETS:
            self._contact.failed(silent(failure))

    def _function(self, name: str) -> Callable[..., Awaitable[Any]]:
        return _bare(self._core, name)


class _Connector(aiohttp.TCPConnector):
    """Knows its connections until they have ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.transports: set[asyncio.Transport] = set()  # uvloop's take no weak references

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.transport and connection.transport not in self.transports:
            self.transports = {each for each in self.transports if not each.is_closing()} | {connection.transport}
        return connection


class _Requests(RESTClientObject):
    """Ends all connections when it is closed. After a cancelled request TLS would wait for the server to agree."""

    _connector: _Connector | None = None

    def _create_connector(self) -> aiohttp.TCPConnector:
        self._connector = _Connector(limit=self.maxsize, ssl=self.ssl_context)
        return self._connector

    async def close(self) -> None:
        await super().close()
        for transport in self._connector.transports if self._connector else ():
            transport.abort()
        await asyncio.sleep(0)  # what was aborted is closed by the event loop, one turn for TLS and one for TCP
        await asyncio.sleep(0)


async def connect(settings: Settings, contact: ContactRecord | None = None) -> Api:
    """Connects as the settings say; raises `Unreachable` if they lead nowhere. Nothing is requested yet.

    What becomes of requests is recorded in `contact`.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # each log and watch holds one; what changes something is bounded here
    try:
        namespace = await _load(settings, configuration)
    except (config.ConfigException, OSError) as error:
        raise Unreachable(error) from error
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}
    pace = Pace(settings.requests_per_second, settings.burst, clock=time.monotonic)
    api_client = ApiClient(configuration)
    api_client.rest_client = _Requests(configuration)
    return Api(api_client, settings.namespace or namespace, pace=pace, contact=contact or ContactRecord())


async def _load(settings: Settings, configuration: Configuration) -> str:
    """Fills a configuration; returns the namespace that it names."""
    if settings.kubeconfig is None:
        config.load_incluster_config(client_configuration=configuration)
        return await asyncio.to_thread(_own_namespace)
    loader = await config.load_kube_config(
        str(settings.kubeconfig), settings.context or None, client_configuration=configuration, persist_config=False
    )
    return str(loader.current_context["context"].get("namespace") or "default")


def _proxy(server: str) -> str | None:
    """The environment's proxy for the API server. aiohttp would look it up for each request, in a thread."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()


def _bare(api: object, function: str) -> Callable[..., Awaitable[Any]]:
    """Returns a generated function without its decorator; it answers with the response as it comes."""
    return partial(getattr(type(api), f"{function}_without_preload_content").raw_function, api)


def _abort(response: aiohttp.ClientResponse) -> None:
    """Ends a stream at once. In order, TLS would wait for the server, which sends what we no longer read."""
    if response.connection and (transport := response.connection.transport):
        transport.abort()
    response.close()


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as failure:
        raise Unreachable(failure) from failure


async def _counted(verb: str, resource: str, answer: Awaitable[Any]) -> aiohttp.ClientResponse:
    try:
        response = await answer
    except BaseException:
        metrics.REQUESTS.labels(verb, resource, "error").inc()
        raise
    metrics.REQUESTS.labels(verb, resource, str(response.status)).inc()
    return response


def _each_try() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=_TRY_SECONDS, sock_connect=_CONNECT_SECONDS)


def _plain_json() -> dict[str, str]:
    return {"Accept": "application/json"}


def _refusal(code: int, content: bytes) -> ApiError:
    try:
        status = decode_status(content)
    except (msgspec.DecodeError, msgspec.ValidationError):  # a proxy in between answered
        status = Status(message=content[:200].decode(errors="replace"))
    return ApiError(code, status.reason, status.message, status.details)


def _retry_after(response: aiohttp.ClientResponse, error: ApiError) -> float:
    header = response.headers.get("Retry-After", "")
    return float(header) if header.isascii() and header.isdecimal() else float(error.details.retry_after_seconds)
