"""As whom the API server is called, for as long as the backend runs."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.config import ConfigException
from tests.backends.kubernetes.pods import recorded
from tests.backends.kubernetes.served import kubeconfig, served

from headrace_backend_kubernetes import connecting
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_chassis.tls.certificates import Authority

POD = recorded("runs")


def _token_file(file: Path, token: str) -> dict[str, Any]:
    file.write_text(token)
    return {"tokenFile": str(file)}


def _plugin(file: Path, token: str) -> dict[str, Any]:
    """What the clouds' own kubeconfigs have: a program that prints a token of some minutes."""
    version = "client.authentication.k8s.io/v1"
    file.write_text(json.dumps({"kind": "ExecCredential", "apiVersion": version, "status": {"token": token}}))
    return {"exec": {"apiVersion": version, "command": "cat", "args": [str(file)], "interactiveMode": "Never"}}


@pytest.mark.parametrize("user", [_token_file, _plugin])
async def test_a_token_of_a_kubeconfig_is_read_again_before_it_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: Callable[[Path, str], dict[str, Any]]
) -> None:
    monkeypatch.setattr(connecting, "_RENEW_SECONDS", 0.0)
    sent: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        sent.append(request.headers["Authorization"])
        return web.json_response(POD)

    async with served(handle, tmp_path) as kubeconfig:
        source = tmp_path / "token"
        content = json.loads(kubeconfig.read_text())
        content["users"][0]["user"] = user(source, "first")
        kubeconfig.write_text(json.dumps(content))
        api = await connect(Settings(kubeconfig=kubeconfig, namespace="ns"))
        await api.get_pod("ns", "runs")
        user(source, "second")
        await api.get_pod("ns", "runs")
        source.unlink()
        await api.get_pod("ns", "runs")  # what cannot be read now may be soon; the token may last until then
        await api.close()
    assert sent == ["Bearer first", "Bearer second", "Bearer second"]


async def test_a_service_accounts_token_that_cannot_be_read_now_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, namespace = tmp_path / "token", tmp_path / "namespace"
    token.write_text("first")
    namespace.write_text("ns")
    sent: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        sent.append(request.headers["Authorization"])
        return web.json_response(POD)

    async with served(handle, tmp_path) as kubeconfig:
        host: str = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]

        def load(client_configuration: Any) -> None:
            """As the client's, which wants TLS; its hook reads the file again, by the wall clock, and may raise."""
            if not (read := token.read_text()):
                raise ConfigException("Token file exists but empty.")
            client_configuration.host = host
            client_configuration.api_key["BearerToken"] = f"bearer {read}"
            client_configuration.refresh_api_key_hook = load

        monkeypatch.setattr(connecting, "_RENEW_SECONDS", 0.0)
        monkeypatch.setattr(connecting, "_OWN_NAMESPACE", namespace)
        monkeypatch.setattr(connecting.config, "load_incluster_config", load)
        api = await connect(Settings())
        assert api.namespace == "ns"
        await api.get_pod("ns", "runs")
        token.write_text("")
        await api.get_pod("ns", "runs")
        token.write_text("second")
        await api.get_pod("ns", "runs")
        await api.close()
    assert sent == ["bearer first", "bearer first", "bearer second"]


async def test_a_connection_whose_request_is_cancelled_as_it_is_made_ends_when_all_are_closed(tmp_path: Path) -> None:
    loop, tls = asyncio.get_running_loop(), _tls(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        api = await connect(Settings(kubeconfig=kubeconfig(tmp_path, server.getsockname()[1], "https"), namespace="ns"))
        request = asyncio.create_task(api.get_pod("ns", "runs"))
        connection, _ = await loop.sock_accept(server)
        with connection:
            connection.setblocking(False)
            received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
            received.write(await loop.sock_recv(connection, 65536))
            with pytest.raises(ssl.SSLWantReadError):
                tls.wrap_bio(received, sent, server_side=True).do_handshake()
            connection.send(sent.read())
            await asyncio.sleep(0)
            request.cancel()  # in the turn in which what was sent is read, which ends the handshake for the client
            await asyncio.wait([request])
            await api.close()
            async with asyncio.timeout(10):  # nothing answers the client's own end of TLS
                while await loop.sock_recv(connection, 65536):
                    continue


def _tls(directory: Path) -> ssl.SSLContext:
    shown = Authority.create("api server", timedelta(hours=1)).issue("api server", timedelta(hours=1), dns_names=[])
    file = directory / "shown.pem"
    file.write_bytes(shown.cert_pem + shown.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
