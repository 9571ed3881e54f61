"""What `Gateway()` without arguments finds in a real pod: address, authority, and a token that logs in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kubernetes.running import CommandFailed, Kubernetes, image, until

from headrace_auth.authenticators.kubernetes import Pods, Settings
from headrace_auth.authenticators.kubernetes_api import KubernetesApi

ADDRESS = "https://headrace.example.svc:443"
FIND = """
import json
from headrace import errors
from headrace._target.target import Target
try:
    target = Target.resolve()
    login = target.auth.login_request()
    found = {"address": target.address, "ca": (target.ca_pem or b"").decode(), "token": login.token.token}
except errors.HeadraceError as error:
    found = {"error": str(error)}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def offered(kubernetes: Kubernetes, namespace: str) -> str:
    """A namespace with the ConfigMap that the chart makes, which service accounts may read."""
    data = {"address": ADDRESS, "ca.crt": "pem", "headrace.yaml": f"headrace:\n  address: {ADDRESS}\n"}
    role = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["headrace-client"], "verbs": ["get"]}
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"system:serviceaccounts:{namespace}"}
    rbac = "rbac.authorization.k8s.io/v1"
    metadata = {"name": "headrace-client", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "headrace-client"}
    kubernetes.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [role]},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "subjects": [group], "roleRef": reference},
    )
    until(lambda: may_read(kubernetes, namespace), "the ConfigMap may be read")
    return namespace


def may_read(kubernetes: Kubernetes, namespace: str) -> bool:
    """Whether the API server lets pods read the ConfigMap: it hears of roles and bindings some time after the test."""
    account = f"system:serviceaccount:{namespace}:default"
    try:
        kubernetes.kubectl("auth", "can-i", "get", "configmaps/headrace-client", "--as", account, "-n", namespace)
    except CommandFailed:  # kubectl's way to say no
        return False
    return True


def found_in(kubernetes: Kubernetes, namespace: str, name: str, **changes: Any) -> dict[str, str]:
    """Runs a pod that looks for headrace; returns what it has found."""
    mounts = changes.pop("mounts", [])
    container = {
        "name": "main",
        "image": image("headrace-dask"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", FIND],
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **changes}
    kubernetes.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    )

    def ended() -> bool:
        return kubernetes.get("pod", name, "-n", namespace)["status"]["phase"] in {"Succeeded", "Failed"}

    until(ended, f"pod {name} has ended")
    log = kubernetes.kubectl("logs", name, "-n", namespace)
    return json.loads(log.splitlines()[-1])


async def user_of(kubernetes: Kubernetes, token: str, **settings: object) -> str:
    api = KubernetesApi(kubernetes.kubeconfig)
    try:
        identity = await Pods(Settings.model_validate({"namespaces": ["*"], **settings}), "", api).check_token(token)
    finally:
        await api.close()
    assert identity is not None
    return identity.name


async def test_with_nothing_mounted_the_api_server_knows(kubernetes: Kubernetes, offered: str) -> None:
    found = found_in(kubernetes, offered, "plain")
    assert (found["address"], found["ca"]) == (ADDRESS, "pem")
    # The token ends with its pod: it logs in as long as the pod is there.
    assert await user_of(kubernetes, found["token"]) == f"{offered}:default"


async def test_what_is_mounted_at_dasks_directory_needs_no_api_server(kubernetes: Kubernetes, offered: str) -> None:
    token = {"serviceAccountToken": {"audience": "headrace", "expirationSeconds": 600, "path": "token"}}
    found = found_in(
        kubernetes,
        offered,
        "mounted",
        automountServiceAccountToken=False,
        volumes=[
            {"name": "config", "configMap": {"name": "headrace-client"}},
            {"name": "token", "projected": {"sources": [token]}},
        ],
        mounts=[
            {"name": "config", "mountPath": "/etc/dask"},
            {"name": "token", "mountPath": "/var/run/secrets/headrace.dev/user-token"},
        ],
    )
    assert found["address"] == ADDRESS
    assert await user_of(kubernetes, found["token"], accept_default_tokens=False) == f"{offered}:default"


def test_where_nothing_may_be_read_it_says_what_to_do(kubernetes: Kubernetes, offered: str) -> None:
    kubernetes.kubectl("delete", "rolebinding", "headrace-client", "-n", offered)
    until(lambda: not may_read(kubernetes, offered), "the ConfigMap may not be read")
    error = found_in(kubernetes, offered, "refused")["error"]
    assert f"the ConfigMap headrace-client of the namespace {offered} must not be read" in error
    assert "ask the administrator to let this pod's service account read it" in error
