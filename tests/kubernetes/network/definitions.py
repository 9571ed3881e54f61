"""Definitions (CRDs) of the resources that the chart makes for other projects: as those publish them in Go modules."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

# Release and place in it. What needs a newer Go than the test cluster's own build waits.
MODULES = {
    "sigs.k8s.io/gateway-api@v1.6.2": "config/crd/standard/gateway.networking.k8s.io_{}.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
    ),
    "istio.io/api@v1.32.0": "kubernetes/{}.gen.yaml",
}
KINDS = {
    "sigs.k8s.io/gateway-api@v1.6.2": ("gateways", "httproutes", "tlsroutes", "backendtlspolicies"),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": ("podmonitors", "scrapeconfigs", "prometheusrules"),
    "istio.io/api@v1.32.0": ("customresourcedefinitions",),
}


def files() -> list[Path]:
    """Fetch the modules, or find them in Go's cache; return the files with the definitions."""
    found: list[Path] = []
    for module, place in MODULES.items():
        done = subprocess.run(
            ["go", "mod", "download", "-json", module], cwd="/", check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{module}: {done.stdout} {done.stderr}"
        folder = Path(json.loads(done.stdout)["Dir"])
        found += [folder / place.format(kind) for kind in KINDS[module]]
    return found
