"""Objects of a real namespace, as the chart's jobs read and write them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from kubernetes.aio import client, config
from tests.backends.kubernetes.installation.objects_contract import ObjectsContract
from tests.kubernetes.running import Kubernetes

from headrace_backend_kubernetes.installation.objects import KubernetesObjects, Objects


@pytest.fixture
def empty_namespace(kubernetes: Kubernetes) -> str:
    name = f"test-objects-{secrets.token_hex(3)}"
    kubernetes.kubectl("create", "namespace", name)
    return name


class TestKubernetesObjects(ObjectsContract):
    @pytest.fixture
    async def objects(self, kubernetes: Kubernetes, empty_namespace: str) -> AsyncIterator[Objects]:
        configuration = client.Configuration()
        await config.load_kube_config(str(kubernetes.kubeconfig), client_configuration=configuration)
        async with client.ApiClient(configuration) as api:
            yield KubernetesObjects(api, empty_namespace, {"made-by": "a-test"})
        kubernetes.kubectl("delete", "namespace", empty_namespace, "--wait=false")
