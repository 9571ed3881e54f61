"""Fixtures that all tests on a real Kubernetes share."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from tests.kubernetes import running
from tests.kubernetes.running import CommandFailed, Kubernetes


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Kubernetes]:
    """The cluster that KUBECONFIG names; without, one that starts now and ends with the session."""
    given = os.environ.get("KUBECONFIG")
    with contextlib.nullcontext(Kubernetes(Path(given))) if given else running.own_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kubectl(kubernetes: Kubernetes) -> Callable[..., str]:
    """Runs kubectl as administrator: ``kubectl("get", "pods", stdin="")``; raises CommandFailed with what it said."""
    return kubernetes.kubectl


@pytest.fixture(scope="session")
def helm(kubernetes: Kubernetes) -> Callable[..., str]:
    """Runs helm as administrator, like kubectl."""
    return kubernetes.helm


@pytest.fixture(scope="session")
def image() -> Callable[[str], str]:
    """Name of an image by its name in images.py: ``image("headrace-dask")``."""
    return running.image


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest, kubernetes: Kubernetes) -> Iterator[str]:
    """A namespace of this module. It is removed at the end; nothing waits for that."""
    module = request.path.stem.removeprefix("test_").replace("_", "-")
    name = f"test-{module[:40]}-{secrets.token_hex(3)}"
    kubernetes.kubectl("create", "namespace", name)
    running.until(lambda: kubernetes.kubectl("get", "serviceaccount", "default", "-n", name), f"{name} is usable")
    yield name
    kubernetes.kubectl("delete", "namespace", name, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test what its namespace says."""
    report = yield
    arguments: dict[str, object] = getattr(item, "funcargs", {})
    cluster, name = arguments.get("kubernetes"), arguments.get("namespace")
    if call.excinfo is not None and not report.skipped and isinstance(cluster, Kubernetes) and isinstance(name, str):
        with contextlib.suppress(CommandFailed):
            said = cluster.kubectl("get", "pods,events", "-n", name, "-o", "wide")
            report.sections.append((f"namespace {name}", said))
    return report
