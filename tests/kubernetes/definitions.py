"""Definitions (CRDs) of the resources that the chart makes for other projects: as those publish them in Go modules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.kubernetes.running import until

# What to take from which release, by file. One that needs a newer Go than the build of the test cluster must wait.
_OPERATOR = "example/prometheus-operator-crd/monitoring.coreos.com"
MODULES = {
    "sigs.k8s.io/gateway-api@v1.6.2": [
        f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"
        for kind in (
            *("gatewayclasses", "gateways", "httproutes", "grpcroutes", "tlsroutes"),
            *("backendtlspolicies", "referencegrants"),
        )
    ],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        f"{_OPERATOR}_{kind}.yaml" for kind in ("podmonitors", "scrapeconfigs", "prometheusrules")
    ],
    "istio.io/api@v1.32.0": ["kubernetes/customresourcedefinitions.gen.yaml"],
    # As the recipe builds it.
    "github.com/cert-manager/cert-manager": [
        f"deploy/crds/cert-manager.io_{kind}.yaml"
        for kind in ("certificates", "certificaterequests", "issuers", "clusterissuers")
    ],
}
RECIPE = Path(__file__).parent / "recipe"
UNUSED = {f"{group}.istio.io" for group in ("extensions", "networking", "telemetry")}


def definitions() -> list[dict[str, Any]]:
    """Fetch the modules, or find them in Go's cache; return the definitions."""
    found: list[dict[str, Any]] = []
    for module, places in MODULES.items():
        folder = module_folder(module)
        for place in places:
            found += filter(None, yaml.load_all((folder / place).read_text(), yaml.CSafeLoader))
    return [each for each in found if each["spec"]["group"] not in UNUSED]


def module_folder(module: str, of: str = "") -> Path:
    """Fetch a Go module, or find it in Go's cache; one without a version is that of the recipe, or of its folder."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd="/" if "@" in module else RECIPE / of,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{module}: {done.stdout} {done.stderr}"
    return Path(json.loads(done.stdout)["Dir"])


@contextmanager
def defined(kubectl: Callable[..., str]) -> Generator[None]:
    """Have the definitions in the cluster; those that were not there before are removed at the end."""
    before = _there(kubectl)
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions()})
    kubectl("apply", "--server-side", "-f", "-", stdin=listed)
    brought = _there(kubectl) - before
    if brought:
        await_established(kubectl, brought)
    try:
        yield
    finally:
        if brought:
            kubectl("delete", "--wait=false", *brought)


def await_established(kubectl: Callable[..., str], definitions: Iterable[str]) -> None:
    """Wait until the API server serves the resources.

    `kubectl wait` fails on a definition that has no conditions yet.
    """
    wait = ("wait", "--for=condition=Established", "--timeout=60s", *definitions)
    until(lambda: kubectl(*wait), "the definitions are established", within=240)


def _there(kubectl: Callable[..., str]) -> set[str]:
    return set(kubectl("get", "customresourcedefinitions", "-o", "name").split())
