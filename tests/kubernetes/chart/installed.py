"""The installation of the chart that all tests share, as `helm install` makes it, with small Dask pods."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import Kubernetes


@contextmanager
def installed(kubernetes: Kubernetes, files: Path) -> Generator[Installation]:
    """headrace in a namespace that enforces PodSecurity `restricted`; its files are in an empty folder."""
    name = f"test-chart-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    volume = None
    if not kubernetes.get("storageclass")["items"]:
        volume = _make_volume(kubernetes, name, files / "valkey")
    values = files / "values.json"
    installation = Installation(kubernetes, name, values)
    values.write_text(json.dumps(installation.small))
    try:
        installation.install()
        yield installation
        installation.uninstall()
    finally:
        kubernetes.kubectl("delete", "namespace", name, "--wait=false")
        if volume:
            kubernetes.kubectl("delete", "persistentvolume", volume, "--wait=false")


def _make_volume(kubernetes: Kubernetes, namespace: str, folder: Path) -> str:
    """A volume for Valkey, where the cluster has no storage class to make one."""
    folder.mkdir()
    folder.chmod(0o777)
    claim = {"namespace": namespace, "name": "data-headrace-valkey-0"}
    name = f"{namespace}-valkey"
    kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "8Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(folder)},
                "claimRef": claim,
            },
        }
    )
    return name
