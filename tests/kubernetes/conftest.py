"""Fixtures that all tests on a real Kubernetes share."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import pytest
from tests.kubernetes import definitions, running
from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.chart.installed import installed
from tests.kubernetes.running import Kubernetes

HERE = Path(__file__).parent
BY_MODULE = ("chart",)
"""Folders whose modules share nothing with one another: each may run in a process of its own."""
LONGEST = (
    *("chart/test_examples_of_pods", "installation", "custom_resources", "chart/test_autoscaling"),
    *("faults", "backend"),
)
"""What begins first, since it takes longest in one process; the many quick tests fill the rest."""
TEST_SECONDS = 600
"""A limit against hanging, no expectation: what tests share is made in the first of them."""


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


@pytest.fixture(scope="session")
def installation(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The chart's release for all tests that need one, in the order of `_turn`."""
    with installed(kubernetes, tmp_path_factory.mktemp("chart")) as release:
        yield release


@pytest.fixture(scope="session")
def custom_resources(kubectl: Callable[..., str]) -> Iterator[None]:
    """Kubernetes knows the resources that the chart makes for other projects."""
    with definitions.defined(kubectl):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests here the time that busy machines need, says which must run in one process, and orders them.

    First, since pytest-xdist reads the groups in this hook, too.
    """
    for item in items:
        if HERE in item.path.parents:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))
            item.add_marker(pytest.mark.xdist_group(_sharing(item)))
    items.sort(key=_turn)


def _sharing(item: pytest.Item) -> str:
    """What a test shares with others: a fixture that there must be once, or else those of its folder or module."""
    needed: list[str] = getattr(item, "fixturenames", [])
    once = (name for name in ("installation", "custom_resources") if name in needed)
    folder = item.path.relative_to(HERE).parts[0]
    return next(once, f"{folder}/{item.path.stem}" if folder in BY_MODULE else folder)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    """What takes longest comes first; what uninstalls the installation last of those that need it."""
    sharing = _sharing(item) if HERE in item.path.parents else ""
    turn = LONGEST.index(sharing) if sharing in LONGEST else len(LONGEST)
    return turn, item.path.stem == "test_uninstall"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test what its namespace says."""
    report = yield
    arguments: dict[str, object] = getattr(item, "funcargs", {})
    cluster = arguments.get("kubernetes")
    if call.excinfo is not None and not report.skipped and isinstance(cluster, Kubernetes):
        for name in sorted(set(_namespaces(arguments))):
            report.sections.append((f"namespace {name}", running.said_of(cluster, name)))
    return report


def _namespaces(arguments: Mapping[str, object]) -> Iterator[str]:
    for name, value in arguments.items():
        if isinstance(value, Installation):
            yield value.namespace
        elif name == "namespace" and isinstance(value, str):
            yield value
