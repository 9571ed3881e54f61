"""Pods for tests: recorded from a real API server, and changed where a test says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headrace_backend_kubernetes.objects import Pod, decode_pod

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> dict[str, Any]:
    """A pod as the API server sent it."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def decoded(pod: dict[str, Any]) -> Pod:
    return decode_pod(json.dumps(pod))


def changed(
    name: str,
    *,
    status: dict[str, Any] | None = None,
    condition: dict[str, str] | None = None,
    **metadata: Any,
) -> Pod:
    """A recorded pod with another status, one condition more, or other metadata; annotations are added."""
    pod = recorded(name)
    pod["status"] |= status or {}
    if condition:
        others = [each for each in pod["status"]["conditions"] if each["type"] != condition["type"]]
        pod["status"]["conditions"] = [*others, condition]
    annotations = {**pod["metadata"]["annotations"], **metadata.pop("annotations", {})}
    pod["metadata"] |= {**metadata, "annotations": annotations}
    return decoded(pod)
