"""What `helm install` without values gives."""

from __future__ import annotations

import shlex
import ssl

import pytest
from cryptography import x509
from tests.kubernetes.chart.installation import RELEASE, Installation
from tests.kubernetes.running import CommandFailed, image, until

SERVICES = ("auth", "controller", "proxy")


def test_helm_test_runs_a_computation(installation: Installation) -> None:
    assert "The sum of 0 to 999 is 499500" in installation.test()


def test_the_computation_of_the_notes_runs(installation: Installation) -> None:
    notes = installation.kubernetes.helm("get", "notes", RELEASE, "-n", installation.namespace)
    [command] = [shlex.split(line) for line in notes.splitlines() if line.startswith("  kubectl run ")]
    assert image("headrace-dask") in command
    assert command[-3:-1] == ["python", "-c"]
    assert installation.run("notes", command[-1]).splitlines()[-1] == "3"


def test_services_run_twice_and_in_a_restricted_namespace(installation: Installation) -> None:
    for service in SERVICES:
        # A probe may time out once on a busy machine.
        until(lambda service=service: _ready(installation, service) == 2, f"two pods of {service} are ready")
    labels = installation.kubernetes.get("namespace", installation.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("service", SERVICES)
def test_a_drain_takes_one_pod_of_a_service_at_a_time(installation: Installation, service: str) -> None:
    """As Kubernetes itself counts them for its eviction API."""

    def counted() -> tuple[int, int, int]:
        status = installation.get("poddisruptionbudget", f"{RELEASE}-{service}")["status"]
        return status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]

    until(lambda: counted() == (2, 1, 1), "of two pods one may go")


def test_dask_pods_have_no_token_of_kubernetes(installation: Installation) -> None:
    printed = installation.run(
        "no-token",
        """
        import headrace

        def accounts():
            import os
            return sorted(os.listdir("/var/run/secrets"))

        with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
            cluster.scale(1)
            with cluster.get_client() as client:
                print("worker", client.submit(accounts).result())
                print("scheduler", client.run_on_scheduler(accounts))
        """,
    )
    assert "worker ['headrace.dev']" in printed
    assert "scheduler ['headrace.dev']" in printed


@pytest.mark.parametrize(
    ("account", "verb", "resource", "may"),
    [
        ("controller", "create", "pods", True),
        ("controller", "get", "pods --subresource=log", True),
        ("controller", "create", "pods --subresource=exec", False),
        ("controller", "create", "deployments", False),
        ("controller", "list", "secrets", False),
        ("auth", "get", "secrets", False),
        ("auth", "list", "pods", False),
        ("proxy", "list", "pods", False),
        ("valkey", "list", "pods", False),
        ("dask", "list", "pods", False),
        ("dask", "get", f"configmaps/{RELEASE}-client", True),  # of any pod that may log in
        ("renewal", "get", f"secrets/{RELEASE}-deployment-key", False),
        ("renewal", "patch", f"secrets/{RELEASE}-deployment-key", False),
        ("renewal", "patch", f"secrets/{RELEASE}-auth-tls", True),
        ("renewal", "patch", f"deployments/{RELEASE}-auth", False),
    ],
)
def test_each_service_account_has_the_rights_that_it_needs(
    installation: Installation, account: str, verb: str, resource: str, *, may: bool
) -> None:
    who = f"system:serviceaccount:{installation.namespace}:{RELEASE}-{account}"
    group = f"system:serviceaccounts:{installation.namespace}"
    try:
        answer = installation.kubectl("auth", "can-i", verb, *resource.split(), "--as", who, "--as-group", group)
    except CommandFailed as failure:
        answer = str(failure)
    assert ("yes" in answer.split()) is may, answer


def test_nothing_of_helms_own_is_left_of_the_job_that_makes_credentials(installation: Installation) -> None:
    found = installation.get("jobs,serviceaccounts,roles")["items"]
    assert not [each["metadata"]["name"] for each in found if each["metadata"]["name"] == f"{RELEASE}-credentials"]


def test_a_new_host_name_gets_a_certificate_that_envoy_serves_without_a_restart(installation: Installation) -> None:
    proxies = _uids(installation, "proxy")
    installation.upgrade("--set", "publicHostnames={dask.example}")
    until(lambda: "dask.example" in _served(installation), "Envoy serves the new certificate", within=180)
    assert _uids(installation, "proxy") == proxies
    installation.kubectl("create", "job", "renewal-now", "--from", f"cronjob/{RELEASE}-renewal")
    installation.kubectl("wait", "job/renewal-now", "--for=condition=Complete", "--timeout=240s")
    assert installation.kubectl("logs", "job/renewal-now") == "Nothing is missing, and nothing expires soon\n"
    installation.kubectl("delete", "job", "renewal-now", "--wait=false")


def test_a_renewed_certificate_of_a_service_is_used_without_a_restart(installation: Installation) -> None:
    pods, before = _uids(installation, "auth"), _served_by_auth(installation)
    installation.kubectl("delete", "secret", f"{RELEASE}-auth-tls")
    installation.kubectl("create", "job", "renewal-of-auth", "--from", f"cronjob/{RELEASE}-renewal")
    installation.kubectl("wait", "job/renewal-of-auth", "--for=condition=Complete", "--timeout=240s")
    until(lambda: _served_by_auth(installation) != before, "auth shows the new certificate", within=180)
    assert _uids(installation, "auth") == pods
    installation.kubectl("delete", "job", "renewal-of-auth", "--wait=false")


def _served_by_auth(installation: Installation) -> str:
    """The certificate that auth shows to a pod that may call it."""
    script = f"import ssl; print(ssl.get_server_certificate(('{RELEASE}-auth', 50051)))"
    return installation.kubectl("exec", f"deploy/{RELEASE}-controller", "--", "python3", "-c", script)


def _served(installation: Installation) -> list[str]:
    """Names of the certificate of the public port."""
    address = installation.get("service", RELEASE)["spec"]["clusterIP"]
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate((address, 443)).encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def _ready(installation: Installation, service: str) -> int:
    return installation.get("deployment", f"{RELEASE}-{service}")["status"].get("readyReplicas", 0)


def _uids(installation: Installation, component: str) -> set[str]:
    """Pods that are not about to end, as those that an upgrade has replaced may still be."""
    pods = installation.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
