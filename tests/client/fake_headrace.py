"""A headrace in memory: our public protocol over real gRPC and TLS, with real Dask schedulers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
from tests.client.fake_audit import FakeAudit
from tests.client.fake_auth import FakeAuth
from tests.client.fake_clusters import FakeClusters
from tests.client.fake_culling import FakeCulling
from tests.client.fake_limits import FakeLimits
from tests.client.fake_options import FakeOptions
from tests.client.fake_usage import FakeUsage
from tests.client.sni_proxy import SniProxy
from tests.held_port import held_port

from headrace import __version__, errors
from headrace._wire.status import to_status
from headrace.v1 import (
    audit_service_pb2_grpc,
    auth_service_pb2_grpc,
    cluster_service_pb2_grpc,
    culling_service_pb2_grpc,
    limits_service_pb2_grpc,
    options_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from headrace_chassis.tls.certificates import Authority

T = TypeVar("T")


class FakeHeadrace(FakeClusters):
    """What the client's tests run against; attributes change how it behaves."""

    def __init__(self, directory: Path) -> None:
        self.auth = FakeAuth(self.find_running)
        super().__init__(self.auth.caller)
        self.admins = self.auth.admins
        self.calls: list[str] = []
        self.requests: list[Any] = []
        self.version = f"{__version__}.post1"
        self.failures: dict[str, list[errors.HeadraceError]] = {}
        self.breaks: dict[str, list[int]] = {}
        self.ca_file = directory / "ca.pem"
        self._socket = ""
        self.audit = FakeAudit()
        self.culling = FakeCulling(self)
        self.limits = FakeLimits(self, self.auth.caller)
        self.usage = FakeUsage(self, self.auth.caller)
        self._held = held_port()
        self.port: int = self._held.getsockname()[1]
        self._serve()
        self.proxy = SniProxy(self.routes)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def fail(self, method: str, *failures: errors.HeadraceError) -> None:
        """Lets the next calls of a method fail, one after the other."""
        self.failures[method] = list(failures)

    def requests_of(self, cls: type[T]) -> list[T]:
        """The requests of one kind, in their order."""
        return [request for request in self.requests if isinstance(request, cls)]

    def break_off(self, method: str, *lengths: int) -> None:
        """Lets the next streams of a method drain after so many responses, one after the other."""
        self.breaks[method] = list(lengths)

    def listen_at(self, address: str) -> None:
        """Listens at a unix socket too, without TLS, as behind Envoy; also after a restart."""
        self._socket = address
        self.stop_server()
        self.restart_server()

    def stop_server(self) -> None:
        self._server.stop(0).wait()

    def restart_server(self) -> None:
        """Comes back at the same port."""
        self._serve()

    def close(self) -> None:
        self.proxy.close()
        super().close()
        self.stop_server()
        self._held.close()

    def _serve(self) -> None:
        if not self.ca_file.exists():
            authority = Authority.create("fake headrace", timedelta(days=1))
            self.ca_file.write_bytes(authority.cert_pem)
            self._leaf = authority.issue("gateway", timedelta(days=1), ["localhost", "headrace.test"], ["127.0.0.1"])
        self._server = grpc.server(ThreadPoolExecutor(32), interceptors=[_Interceptor(self)])
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, self._server)
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(self.auth, self._server)
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(self, self._server)
        culling_service_pb2_grpc.add_CullingServiceServicer_to_server(self.culling, self._server)
        limits_service_pb2_grpc.add_LimitsServiceServicer_to_server(self.limits, self._server)
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(self.usage, self._server)
        options_service_pb2_grpc.add_OptionsServiceServicer_to_server(FakeOptions(), self._server)
        credentials = grpc.ssl_server_credentials([(self._leaf.key_pem, self._leaf.cert_pem)])
        self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        if self._socket:
            self._server.add_insecure_port(self._socket)
        self._server.start()


class _Interceptor(grpc.ServerInterceptor):
    """Notes each call, lets it fail where a test wants that, and turns our errors into statuses."""

    def __init__(self, fake: FakeHeadrace) -> None:
        self._fake = fake

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method.rpartition("/")[2]
        if handler is None:
            return None
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, method: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def handle(request: Any, context: Any) -> Any:
            try:
                self._begin(method, request, context)
                return inner(request, context)
            except errors.HeadraceError as error:
                self._abort(context, error)

        return handle

    def _stream(self, method: str, inner: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            breaks = self._fake.breaks.get(method)
            length = breaks.pop(0) if breaks else -1
            try:
                self._begin(method, request, context)
                for n, response in enumerate(inner(request, context)):
                    if n == length:
                        raise errors.Draining("this replica is shutting down")
                    yield response
            except errors.HeadraceError as error:
                self._abort(context, error)

        return handle

    def _abort(self, context: Any, error: errors.HeadraceError) -> None:
        status = to_status(error)
        context.set_trailing_metadata((*self._version(), *status.trailing_metadata))
        context.abort(status.code, status.details)

    def _version(self) -> tuple[tuple[str, str], ...]:
        return (("headrace-version", self._fake.version),) if self._fake.version else ()

    def _begin(self, method: str, request: Any, context: Any) -> None:
        self._fake.calls.append(method)
        self._fake.requests.append(request)
        context.set_trailing_metadata(self._version())
        if self._fake.failures.get(method):
            raise self._fake.failures[method].pop(0)
