"""The pod of a process: a template of the administrator's, and on top of it which process it is. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from headrace.agent.identity import Identity
from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.names import pod_name
from headrace_backend_kubernetes.pod_templates import PodTemplates, literal
from headrace_backend_kubernetes.seals import PodSeals
from headrace_controller.backends.process import ProcessSpec, Role

TOKEN_VOLUME = "headrace-token"  # noqa: S105 the volume's name
TOKEN_DIRECTORY = "/var/run/secrets/headrace.dev/token"  # noqa: S105 a directory
TOKEN_FILE = f"{TOKEN_DIRECTORY}/token"
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787
LONGEST_MANIFEST = 16 * 1024  # each change of the pod brings it to all controllers, and they keep it

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPods:
    """Makes the pods of a deployment's processes.

    Attributes
    ----------
    endpoint
        gRPC target of the controller, as pods reach it.
    token_seconds
        Life of the token that each pod enrols with.
    """

    deployment: str
    endpoint: str
    token_seconds: int
    seals: PodSeals

    def of(self, spec: ProcessSpec, templates: PodTemplates, token: Plain | None = None) -> Plain:
        """Returns the pod of a process.

        Parameters
        ----------
        token
            Source of the volume with the file ``token``; None means a token of the pod's service account.
        """
        pod = templates.of(spec)
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        metadata["name"] = pod_name(spec.key, spec.generation)
        metadata["labels"] = {**metadata.get("labels", {}), **labels.labels_of(spec, self.deployment)}
        metadata["annotations"] = {
            **metadata.get("annotations", {}),
            **labels.annotations_of(spec, self.deployment),
            **manifest_annotation(spec.manifest),
        }
        self.seal(pod)
        self.add_token(pod, token)
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        identity = {**self._identity(spec), **_ports(spec.role), "HEADRACE_GRACE_SECONDS": str(grace)}
        container["env"] = [
            *(variable for variable in container["env"] if variable.get("name") not in identity),
            *({"name": name, "value": literal(value)} for name, value in identity.items()),
        ]
        return pod

    def seal(self, pod: Plain) -> None:
        """Seals a pod that has its name and says whose it is."""
        metadata = pod["metadata"]
        annotations = metadata["annotations"]
        annotations[labels.SEAL] = self.seals.of(
            metadata["namespace"], metadata["name"], metadata["labels"][labels.ROLE], annotations
        )

    def add_token(self, pod: Plain, token: Plain | None = None) -> None:
        """Adds the volume with the token; no variable and no annotation ever has one."""
        source = token or {
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "audience": audience_of(self.deployment),
                            "expirationSeconds": self.token_seconds,
                            "path": "token",
                        }
                    }
                ]
            }
        }
        pod["spec"]["volumes"].append({"name": TOKEN_VOLUME, **source})
        mount = {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": True}
        pod["spec"]["containers"][0]["volumeMounts"].append(mount)

    def _identity(self, spec: ProcessSpec) -> dict[str, str]:
        identity = Identity(
            deployment=self.deployment,
            cluster=spec.key.cluster,
            process=spec.key.process,
            role=str(spec.role),
            generation=spec.generation,
            endpoint=self.endpoint,
            ca_pem=spec.agent_ca_pem,
            token="",
        ).to_environment()
        del identity["HEADRACE_AGENT_TOKEN"]
        return {**identity, "HEADRACE_AGENT_TOKEN_FILE": TOKEN_FILE}


def audience_of(deployment: str) -> str:
    """Returns the audience of the tokens that pods enrol with: no other deployment takes them."""
    return f"headrace/{deployment}"


def manifest_annotation(manifest: bytes) -> dict[str, str]:
    """Returns the annotation with a manifest; nothing if it is too large for one, or empty."""
    encoded = base64.b64encode(manifest).decode()
    return {labels.MANIFEST: encoded} if 0 < len(encoded) <= LONGEST_MANIFEST else {}


def _ports(role: Role) -> dict[str, str]:
    """Ports of a scheduler, which network policies name. Workers listen on any."""
    if role is not Role.SCHEDULER:
        return {}
    return {"HEADRACE_SCHEDULER_PORT": str(SCHEDULER_PORT), "HEADRACE_DASHBOARD_PORT": str(DASHBOARD_PORT)}
