"""Seals on pods, by which the controllers know the pods that they have made. Pure.

A user who may create pods in a namespace can label one as a scheduler of any cluster, or as a pod in standby, and its
token would be good for enrolling as that. So a pod says whose it is with a seal that only this deployment can make,
good for this name in this namespace.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.objects import Pod
from headrace_chassis.identity.seal import derive
from headrace_controller.backends.base import BackendError

_OF_ANNOTATIONS = (labels.CLUSTER, labels.PROCESS, labels.GENERATION)


class PodSeals:
    """Seals pods with the first key, and knows seals of any."""

    def __init__(self, keys: Sequence[bytes], deployment: str) -> None:
        self._keys = [derive(key, f"pod/{deployment}") for key in keys]

    def of(self, namespace: str, name: str, role: str, annotations: Mapping[str, str]) -> str:
        """Returns the seal of a pod that is about to be made or given to a cluster."""
        if not self._keys:
            raise BackendError("it has no key of the deployment to seal pods with")
        return _seal(self._keys[0], namespace, name, role, annotations)

    def is_good(self, pod: Pod) -> bool:
        """Whether this deployment has made a pod what it says it is."""
        annotations = pod.metadata.annotations
        given = annotations.get(labels.SEAL, "").encode()
        role = pod.metadata.labels.get(labels.ROLE, "")
        return any(
            hmac.compare_digest(_seal(key, pod.namespace, pod.name, role, annotations).encode(), given)
            for key in self._keys
        )


def _seal(key: bytes, namespace: str, name: str, role: str, annotations: Mapping[str, str]) -> str:
    facts = [namespace, name, role, *(annotations.get(each, "") for each in _OF_ANNOTATIONS)]
    return hmac.digest(key, json.dumps(facts).encode(), "sha256").hex()
