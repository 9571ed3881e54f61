"""Containers that a webhook puts beside Dask: a pod ends with its Dask process all the same."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.backends.processes import new_cluster, spec, text
from tests.backends.programs import Program
from tests.conftest import Eventually
from tests.kubernetes.backend.opened import Site
from tests.kubernetes.backend.watched import exited
from tests.kubernetes.backend.watched import until as seen
from tests.kubernetes.running import CommandFailed, Kubernetes, until

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_controller.backends.process import SCHEDULER, ProcessKey

_API = "admissionregistration.k8s.io/v1"


async def test_a_pod_with_another_container_gives_its_room_back_when_its_process_has_ended(
    site: Site, backend: KubernetesBackend, kubernetes: Kubernetes, eventually: Eventually
) -> None:
    cluster = new_cluster()
    with _sidecars(kubernetes, site):
        await backend.start([spec(cluster, SCHEDULER, Program(writes="my last words\n", code=3))])
    ended = await seen(backend, cluster, exited)
    assert (ended.exit_cause, ended.exit_code) == (ExitCause.EXITED, 3)
    name = _known(backend, cluster).name
    made = kubernetes.get("pod", name, "-n", site.namespace)
    assert {each["name"] for each in made["spec"]["containers"]} == {"dask", "proxy"}
    await eventually(lambda: _known(backend, cluster).ended, within=60)
    assert kubernetes.get("pod", name, "-n", site.namespace)["status"]["phase"] == "Failed"
    assert await seen(backend, cluster, exited) == ended
    assert await text(backend, cluster) == "my last words\n"


def _known(backend: KubernetesBackend, cluster: str) -> Any:
    return backend.table.pod(ProcessKey(cluster, SCHEDULER))


@contextmanager
def _sidecars(kubernetes: Kubernetes, site: Site) -> Generator[None]:
    """Each new pod of the namespace gets a container more, as service meshes do it."""
    container = f'Object.spec.containers{{name: "proxy", image: "{site.image}", command: ["sleep", "1000"]}}'
    patch = f'[JSONPatch{{op: "add", path: "/spec/containers/0", value: {container}}}]'
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    policy = {
        "apiVersion": _API,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": site.deployment},
        "spec": {
            "matchConstraints": {"resourceRules": [pods]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        },
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}}
    binding = {
        "apiVersion": _API,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": site.deployment},
        "spec": {"policyName": site.deployment, "matchResources": {"namespaceSelector": here}},
    }
    try:
        kubernetes.apply(policy, binding)
        until(lambda: "proxy" in _tried(kubernetes, site), "the policy is in force")
        yield
    finally:
        for each in (binding, policy):
            kubernetes.kubectl("delete", str(each["kind"]), site.deployment, "--ignore-not-found")


def _tried(kubernetes: Kubernetes, site: Site) -> str:
    """Names of the containers of a new pod, which is not kept."""
    tried = ("run", "tried", "--image=none", "--dry-run=server", "-n", site.namespace)
    try:
        return kubernetes.kubectl(*tried, "-o", "jsonpath={.spec.containers[*].name}")
    except CommandFailed as failure:
        return str(failure)
