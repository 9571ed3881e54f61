"""What comes in broken at the public port gets an answer at once, changes nothing and holds nobody up."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.running import Running

from headrace import Gateway, GatewayCluster, errors
from headrace.v1 import auth_service_pb2, auth_service_pb2_grpc


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster() as cluster:
        yield cluster


@pytest.mark.parametrize("count", [-1, 10**9, 10**30])
def test_absurd_counts_are_refused(gateway: Gateway, cluster: GatewayCluster, count: int) -> None:
    with pytest.raises((errors.InvalidRequest, errors.QuotaExceeded)):
        cluster.scale(count)
    with pytest.raises((errors.InvalidRequest, errors.QuotaExceeded)):
        cluster.adapt(minimum=0, maximum=count)
    with pytest.raises(ValueError):  # noqa: PT011 - any of ours
        cluster.adapt(minimum=3, maximum=2)
    assert list(cluster.workers()) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"worker_memroy": "1 GiB"}, "worker_memory"),
        ({"worker_threads": "many"}, "worker_threads"),
        ({"worker_threads": -1}, "worker_threads"),
        ({"environment": ["A"]}, "environment"),
        ({"environment": {"A": "x" * 200_000}}, "environment"),
    ],
)
def test_wrong_options_are_named(gateway: Gateway, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        gateway.new_cluster(**options)
    assert gateway.list_clusters() == []


def test_an_unknown_cluster_is_named(gateway: Gateway) -> None:
    with pytest.raises(errors.ClusterNotFound, match="cnosuchcluster"):
        gateway.connect("cnosuchcluster")


def test_a_wrong_password_is_reported_as_such(headrace: Running) -> None:
    from headrace import BasicAuth

    local = headrace.gateway_file
    with (
        pytest.raises(errors.BadCredentials),
        Gateway(local["address"], auth=BasicAuth("ann", "wrong"), tls_ca_file=local["ca_file"]) as gateway,
    ):
        gateway.list_clusters()


def test_a_wrong_authority_is_reported_as_such(headrace: Running) -> None:
    local = headrace.gateway_file
    with pytest.raises(errors.Unreachable, match="certificate"), Gateway(local["address"], auth="basic") as gateway:
        gateway.list_clusters()


def test_a_wrong_address_is_reported_as_such() -> None:
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9"), Gateway("https://127.0.0.1:9") as gateway:
        gateway.list_clusters()


def test_malformed_protobuf_and_large_messages(headrace: Running, gateway: Gateway) -> None:
    with _channel(headrace) as channel:
        raw = channel.unary_unary("/headrace.v1.AuthService/Login")
        for message in (b"\xff\xff\xff", b"\x0a" * 1000):
            with pytest.raises(grpc.RpcError):
                raw(message, timeout=30)
        with pytest.raises(grpc.RpcError) as refused:
            raw(bytes(200 << 20), timeout=60)
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
        assert gateway.list_clusters() == []


def test_over_long_strings(headrace: Running) -> None:
    with _channel(headrace) as channel:
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        password = auth_service_pb2.PasswordCredential(username="u" * 100_000, password="p")
        with pytest.raises(grpc.RpcError) as refused:
            stub.Login(auth_service_pb2.LoginRequest(password=password), timeout=30)
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_unknown_server_name_is_closed_at_once(headrace: Running) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", headrace.port), timeout=30) as raw,
        pytest.raises((ConnectionResetError, ssl.SSLError)),
    ):
        context.wrap_socket(raw, server_hostname="cnosuchcluster.clusters.headrace.internal")


def test_half_a_hello_is_given_up_and_blocks_nobody(headrace: Running, gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", headrace.port), timeout=30) as raw:
        raw.sendall(bytes.fromhex("16030100c8010000c40303"))
        assert gateway.list_clusters() == []
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(1) in {b"", b"\x15"}


def _channel(headrace: Running) -> grpc.Channel:
    ca = Path(headrace.gateway_file["ca_file"]).read_bytes()
    options = [("grpc.max_send_message_length", 1 << 30)]
    return grpc.secure_channel(f"127.0.0.1:{headrace.port}", grpc.ssl_channel_credentials(ca), options)
