"""`headrace doctor --kubernetes` in a pod says what the pod can do, and what to do about what it cannot."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

import pytest
from tests.kubernetes.running import Kubernetes, until

NOWHERE = "https://127.0.0.1:9"
ALL = {
    "pods": ["create", "get", "list", "watch", "patch", "delete", "deletecollection"],
    "pods/log": ["get"],
    "events": ["list", "watch"],
    "secrets": ["create", "get", "patch", "delete"],
}


class Doctor:
    """Runs it in pods."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace

    def account(self, rights: dict[str, list[str]]) -> str:
        """Makes a service account with rights in the namespace."""
        name = f"account-{secrets.token_hex(3)}"
        metadata = {"name": name, "namespace": self.namespace}
        rules = [{"apiGroups": [""], "resources": [resource], "verbs": verbs} for resource, verbs in rights.items()]
        rbac = "rbac.authorization.k8s.io"
        self.kubernetes.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
            },
        )
        return name

    def hops(self, image: str, account: str = "default", *, token: bool = True) -> dict[str, tuple[bool, str]]:
        """Returns what it says of each hop up to the connection, at which no headrace answers."""
        name = f"doctor-{secrets.token_hex(3)}"
        command = ["python3", "-m", "headrace.cli", "doctor", "--kubernetes", "--json", "--address", NOWHERE]
        self.kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": account,
                    "automountServiceAccountToken": token,
                    "containers": [
                        {
                            "name": "doctor",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": command,
                            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                        }
                    ],
                },
            }
        )
        where = ("-n", self.namespace)
        until(lambda: self.kubernetes.get("pod", name, *where)["status"]["phase"] == "Failed", f"{name} has ended")
        found = json.loads(self.kubernetes.kubectl("logs", name, *where))
        assert found[-1]["name"] == "connection"
        return {hop["name"]: (hop["works"], hop["message"]) for hop in found}


@pytest.fixture
def doctor(kubernetes: Kubernetes, namespace: str) -> Doctor:
    return Doctor(kubernetes, namespace)


def test_a_service_account_with_all_rights(doctor: Doctor, image: Callable[[str], str]) -> None:
    account = doctor.account(ALL)
    hops = doctor.hops(image("headrace"), account)
    assert hops["rights"] == (True, f"may do all that the controller does in {doctor.namespace}")
    assert hops["API server"] == (True, f"it knows this pod as system:serviceaccount:{doctor.namespace}:{account}")
    assert hops["DNS"][0]
    assert hops["enrolment"][1].startswith("may not review tokens: where the controller may not either, set")


def test_rights_that_are_missing_are_named(doctor: Doctor, image: Callable[[str], str]) -> None:
    hops = doctor.hops(image("headrace"), doctor.account({**ALL, "pods": ["create", "get", "list", "delete"]}))
    works, message = hops["rights"]
    assert not works
    assert message == (
        f"may not in {doctor.namespace}: watch, patch, deletecollection pods; give the service account the chart's "
        "Role there (value rbac)"
    )


def test_a_users_pod_has_no_rights_and_needs_none(doctor: Doctor, image: Callable[[str], str]) -> None:
    works, message = doctor.hops(image("headrace"))["rights"]
    assert works
    assert message.startswith(f"may not run pods in {doctor.namespace}, as a user's pod should not")


def test_a_notebook_is_told_what_was_not_checked_and_that_nothing_is_wrong(
    doctor: Doctor, image: Callable[[str], str]
) -> None:
    hops = doctor.hops(image("headrace-dask"))
    assert hops["image"] == (True, hops["image"][1])
    assert hops["image"][1].endswith(": clusters can run in it")
    assert hops["API server"][1].startswith(
        "not checked, nor are rights: the Kubernetes client is not installed here (`pip install "
        "'headrace[kubernetes]'`). Users need neither; an administrator checks the controller's with kubectl exec"
    )
    assert [name for name, (works, _) in hops.items() if not works] == ["connection"]


def test_a_pod_without_a_token_is_told_where_to_run_it(doctor: Doctor, image: Callable[[str], str]) -> None:
    hops = doctor.hops(image("headrace"), token=False)
    assert hops["API server"][1].startswith("not checked, nor are rights: this pod has no token of a service account.")
    assert [name for name, (works, _) in hops.items() if not works] == ["connection"]
