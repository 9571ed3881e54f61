"""Labels and annotations of pods, and their container: how people select them, and how we find them again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace_backend_kubernetes.names import label_value
from headrace_controller.backends.process import ProcessSpec

_DOMAIN = "headrace.dev/"
DEPLOYMENT = f"{_DOMAIN}deployment"
CLUSTER = f"{_DOMAIN}cluster"
PROCESS = f"{_DOMAIN}process"
GENERATION = f"{_DOMAIN}generation"
ROLE = "app.kubernetes.io/component"
CONTAINER = "dask"
"""Name of the container that Dask runs in."""
STANDBY = f"{_DOMAIN}standby"
"""Label of a pod that belongs to nobody yet; says what it can become."""
READY = f"{_DOMAIN}ready"
"""Label of a pod in standby whose process waits for its cluster."""
GIVEN = f"{_DOMAIN}given"
"""Annotation of a pod from standby: when it was given to its cluster, in seconds since the epoch."""
MANIFEST = f"{_DOMAIN}manifest"
MANIFEST_SECRET = f"{_DOMAIN}manifest-secret"
SEAL = f"{_DOMAIN}seal"
"""Annotation by which the controllers know that they have made a pod what it says it is."""
TAGS = f"tags.{_DOMAIN}"
"""Begin of the names of labels and annotations that say the tags of a cluster."""
STOPPED = f"{_DOMAIN}stopped"
"""Annotation of a pod that headrace stops, so that each replica knows that nobody else does."""

OF_THE_PLATFORM = frozenset(f"app.kubernetes.io/{name}" for name in ("name", "instance", "managed-by", "part-of"))
"""Labels that all pods of a deployment have, and that say nothing of a cluster."""

READ_LABELS = (DEPLOYMENT, CLUSTER, ROLE, STANDBY, READY)
READ_ANNOTATIONS = (CLUSTER, PROCESS, GENERATION, GIVEN, MANIFEST, MANIFEST_SECRET, SEAL, STOPPED)
"""Those that are read of pods; all others are for people."""

_FOR_PEOPLE = ("owner", "profile", "group")
_TAG = "tag/"
"""Begin of the names of a process's labels that are tags."""


def selector(deployment: str, cluster: str | None = None, processes: Iterable[str] | None = None) -> str:
    """Selects the pods of a deployment, of one of its clusters, or of some processes of that."""
    terms = [f"{DEPLOYMENT}={label_value(deployment)}"]
    if cluster is not None:
        terms.append(f"{CLUSTER}={label_value(cluster)}")
    if processes is not None:
        terms.append(f"{PROCESS} in ({','.join(map(label_value, processes))})")
    return ",".join(terms)


def labels_of(spec: ProcessSpec, deployment: str) -> dict[str, str]:
    """Returns the labels of a process's pod; illegal values are escaped."""
    return {
        "app.kubernetes.io/name": "dask",
        "app.kubernetes.io/instance": label_value(deployment),
        ROLE: str(spec.role),
        "app.kubernetes.io/managed-by": "headrace",
        "app.kubernetes.io/part-of": "headrace",
        **{name: label_value(value) for name, value in _values(spec, deployment).items()},
    }


def annotations_of(spec: ProcessSpec, deployment: str) -> dict[str, str]:
    """Returns the real values of the labels, and the generation."""
    return {**_values(spec, deployment), GENERATION: str(spec.generation)}


def _values(spec: ProcessSpec, deployment: str) -> Mapping[str, str]:
    for_people = {"owner": spec.owner, **spec.labels}
    tags = {name.removeprefix(_TAG): value for name, value in spec.labels.items() if name.startswith(_TAG)}
    return {
        DEPLOYMENT: deployment,
        CLUSTER: spec.key.cluster,
        PROCESS: spec.key.process,
        **{f"{_DOMAIN}{name}": for_people[name] for name in _FOR_PEOPLE if for_people.get(name)},
        **{f"{TAGS}{label_value(name)}": value for name, value in tags.items()},
    }
