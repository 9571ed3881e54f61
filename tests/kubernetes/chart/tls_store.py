"""A Valkey with TLS and a user, such as a cloud's: Valkey's own, behind an Envoy that opens TLS."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import image, until

from headrace_chassis.tls.certificates import Authority

STORE = "store"


@contextmanager
def store(installation: Installation, username: str, password: str) -> Generator[str]:
    """Run it in the release's namespace; yield the certificate of its authority. Only TLS reaches it."""
    authority = Authority.create("store", timedelta(days=1))
    leaf = authority.issue("store", timedelta(days=1), dns_names=[f"{STORE}.{installation.namespace}.svc"])
    metadata = {"name": STORE, "namespace": installation.namespace, "labels": {"app": STORE}}
    files = {
        "tls.crt": leaf.cert_pem.decode(),
        "tls.key": leaf.key_pem.decode(),
        "envoy.json": json.dumps(_envoy()),
        "users.acl": f"user default off\nuser {username} on ~* &* +@all >{password}\n",
    }
    service = {"selector": {"app": STORE}, "ports": [{"port": 6379, "targetPort": 6380}]}
    installation.kubernetes.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": files},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _pod()},
    )
    until(lambda: "True" in installation.kubectl("get", "pod", STORE, "-o", READY), "the store is ready")
    yield authority.cert_pem.decode()


READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'


def _pod() -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    common = {
        "imagePullPolicy": "IfNotPresent",
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
    }
    valkey = ["valkey-server", "--bind", "127.0.0.1", "--save", "", "--aclfile", "/files/users.acl"]
    envoy = ["/usr/local/bin/envoy", "-c", "/files/envoy.json", "--concurrency", "1", "--disable-hot-restart"]
    containers = [
        {**common, "name": "valkey", "image": image("valkey"), "command": valkey},
        {
            **common,
            "name": "tls",
            "image": image("envoy"),
            "command": envoy,
            "readinessProbe": {"tcpSocket": {"port": 6380}},
        },
    ]
    user = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [{"name": "files", "secret": {"secretName": STORE}}]
    return {
        "securityContext": user,
        "terminationGracePeriodSeconds": 1,
        "containers": containers,
        "volumes": volumes,
    }


def _envoy() -> dict[str, Any]:
    """Opens TLS on port 6380, and passes on what is in it."""
    types = "type.googleapis.com/envoy.extensions"
    certificate = {"certificate_chain": {"filename": "/files/tls.crt"}, "private_key": {"filename": "/files/tls.key"}}
    tls = {
        "@type": f"{types}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [certificate]},
    }
    proxy = {"@type": f"{types}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "store", "cluster": "valkey"}
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
    }
    endpoint = {"endpoint": {"address": _address("127.0.0.1", 6379)}}
    load = {"cluster_name": "valkey", "endpoints": [{"lb_endpoints": [endpoint]}]}
    cluster = {"name": "valkey", "type": "STATIC", "connect_timeout": "1s", "load_assignment": load}
    listener = {"name": "tls", "address": _address("0.0.0.0", 6380), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
