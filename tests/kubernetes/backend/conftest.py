"""Fixtures of the tests of the backend on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.running import Kubernetes

from headrace_backend_kubernetes.backend import KubernetesBackend

pytest.register_assert_rewrite(
    *(f"tests.backends.{each}" for each in ("contract", "process_contract", "platform_contract"))
)


@pytest.fixture
def site(kubernetes: Kubernetes, namespace: str, image: Callable[[str], str]) -> Site:
    return Site(
        kubeconfig=kubernetes.kubeconfig,
        namespace=namespace,
        image=image("headrace-dask"),
        deployment=new_deployment(),
    )


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[KubernetesBackend]:
    backend = site.backend()
    await backend.open()
    yield backend
    for cluster in {status.key.cluster for status in await backend.observe()}:
        await backend.stop(cluster)
        await backend.forget(cluster)
    await backend.close()
