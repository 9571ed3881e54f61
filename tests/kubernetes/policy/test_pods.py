"""What an administrator sets is what the pods on a real Kubernetes have."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.policy.conftest import Site
from tests.kubernetes.running import PRETENDED, Kubernetes, pretended_node, until

from headrace_controller.model import Resources

GPU = "example.com/gpu"
SHOWS = """
printenv PASSWORD REGION_AGAIN NODE LITERAL OURS LAB_REGION
cat /etc/dask/dask.yaml; echo
id -u
echo x > /tmp/x && echo x > /shared/x && echo writes
(echo x > /x) 2>/dev/null || echo read-only
"""


def gpus(kubernetes: Kubernetes, node: str, number: int) -> None:
    """Gives a pretended node an extended resource, as a device plugin would."""
    amount = {GPU: str(number)}
    patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
    kubernetes.kubectl("patch", "node", node, "--subresource=status", "-p", patch)


async def test_workers_are_placed_apart_from_the_scheduler_and_get_their_gpus(
    site: Site, kubernetes: Kubernetes
) -> None:
    with pretended_node(kubernetes, "policy-on-demand") as on_demand, pretended_node(kubernetes, "policy-spot") as spot:
        gpus(kubernetes, spot, 2)
        kubernetes.kubectl("taint", "node", spot, "spot=true:NoSchedule")
        site.use(
            tolerations=[PRETENDED],
            gpu_resource=GPU,
            scheduler={"node_selector": {"type": on_demand}},
            worker={
                "node_selector": {"type": spot},
                "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
            },
        )
        await site.start("scheduler", resources=Resources(cores=0.333, memory_bytes=1_234_567_891))
        for worker in ("worker-1", "worker-2"):
            await site.start(worker, resources=Resources(cores=0.01, gpus=1))
        scheduler = await site.scheduled("scheduler")
        first, second = await site.scheduled("worker-1"), await site.scheduled("worker-2")
        assert [pod["spec"]["nodeName"] for pod in (scheduler, first, second)] == [on_demand, spot, spot]
        assert first["spec"]["containers"][0]["resources"] == {
            "requests": {"cpu": "10m", GPU: "1"},
            "limits": {GPU: "1"},
        }
        assert scheduler["spec"]["containers"][0]["resources"] == {
            "requests": {"cpu": "333m", "memory": "1234567891"},
            "limits": {"memory": "1234567891"},
        }
        await site.start("worker-3", resources=Resources(gpus=1))
        until(lambda: GPU in json.dumps(site.pod("worker-3")["status"]), "the third worker waits for a GPU")
        await site.backend.stop(site.cluster)  # on nodes that are gone, pods do not end


async def test_variables_and_volumes_come_from_secrets_and_config_maps(site: Site, kubernetes: Kubernetes) -> None:
    metadata: dict[str, Any] = {"namespace": site.namespace}
    kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "name": "login"},
            "stringData": {"password": "$(HOME) $$ sesame"},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**metadata, "name": "lab"},
            "data": {"REGION": "north", "dask.yaml": "lab: {north: true}"},
        },
    )
    site.use(
        environment={
            "PASSWORD": {"secret": "login", "key": "password"},
            "REGION_AGAIN": {"config_map": "lab", "key": "REGION"},
            "NODE": {"field": "spec.nodeName"},
            "LITERAL": "$(REGION_AGAIN) $$",
            "OURS": "administrator's",
        },
        environment_from=[{"config_map": "lab", "prefix": "LAB_"}],
        volumes={
            "config": {"path": "/etc/dask", "source": {"configMap": {"name": "lab"}}, "read_only": True},
            "shared": {"path": "/shared", "source": {"emptyDir": {"sizeLimit": "1Mi"}}},
        },
        scratch_size="16Mi",
        read_only_root=True,
        extra_container_config={
            "command": [
                "sh",
                "-c",
                SHOWS,
            ]
        },
    )
    await site.start(environment={"OURS": "ann's $(PASSWORD)"})
    assert await site.output("worker-1") == [
        "$(HOME) $$ sesame",
        "north",
        site.pod("worker-1")["spec"]["nodeName"],
        "$(REGION_AGAIN) $$",
        "ann's $(PASSWORD)",
        "north",
        "lab: {north: true}",
        "1000",
        "writes",
        "read-only",
    ]


async def test_classes_spread_and_grace_are_those_of_the_profile(site: Site, kubernetes: Kubernetes) -> None:
    name = f"policy-{site.cluster}"
    kubernetes.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dask", "namespace": site.namespace}},
    )
    try:
        site.use(
            priority_class=name,
            runtime_class=name,
            service_account="dask",
            termination_grace_period_seconds=77,
            topology_spread=[
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            affinity={
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {}}}
                    ]
                }
            },
            labels={"team": "lab"},
            annotations={"example.org/cost": "lab"},
            node_selector={"no-such": "node"},
            extra_pod_config={"initContainers": [{"name": "sidecar", "image": "x", "restartPolicy": "Always"}]},
            groups={"large": {"labels": {"team": "large"}, "node_selector": {"no-such": None, "neither": "node"}}},
        )
        until(lambda: not kubernetes.refusal(site.namespace, priorityClassName=name), "the class is known")
        pod = await site.start()
        spec = pod["spec"]
        assert (spec["priority"], spec["runtimeClassName"], spec["serviceAccountName"]) == (1000, name, "dask")
        assert spec["terminationGracePeriodSeconds"] == 77
        assert spec["automountServiceAccountToken"] is False
        [spread] = spec["topologySpreadConstraints"]
        # The API server has added the value of the pod's own label.
        assert {"key": "headrace.dev/cluster", "operator": "In", "values": [site.cluster]} in spread["labelSelector"][
            "matchExpressions"
        ]
        assert spec["affinity"]["podAffinity"]
        assert pod["metadata"]["labels"]["team"] == "lab"
        assert pod["metadata"]["labels"]["headrace.dev/cluster"] == site.cluster
        assert pod["metadata"]["annotations"]["example.org/cost"] == "lab"
        assert [one["name"] for one in spec["initContainers"]] == ["sidecar"]
        large = await site.start("worker-2", group="large")
        assert large["spec"]["nodeSelector"] == {"neither": "node"}
        assert large["metadata"]["labels"]["team"] == "large"
    finally:
        kubernetes.kubectl("delete", "priorityclass,runtimeclass", name)


async def test_pods_are_in_the_namespace_of_their_profile(site: Site, kubernetes: Kubernetes) -> None:
    other = f"{site.namespace}-lab"
    kubernetes.kubectl("create", "namespace", other)
    try:
        until(lambda: kubernetes.kubectl("get", "serviceaccount", "default", "-n", other), f"{other} is usable")
        site.use(namespace=other, node_selector={"no-such": "node"})
        own, site.namespace = site.namespace, other
        pod = await site.start()
        assert pod["metadata"]["namespace"] == other
        site.namespace = own
        assert kubernetes.get("pods", "-n", own, "-l", f"headrace.dev/cluster={site.cluster}")["items"] == []
    finally:
        kubernetes.kubectl("delete", "namespace", other, "--wait=false")


async def test_pods_pass_the_strictest_pod_security(site: Site, kubernetes: Kubernetes) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubernetes.kubectl("label", "namespace", site.namespace, "--overwrite", label)
    site.use(extra_container_config={"command": ["sh", "-c", "id -u"]})
    await site.start()
    assert await site.output("worker-1") == ["1000"]
