"""What administrators cannot set of a pod, because headrace or JSON would not work with it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

OWN = "headrace.dev/"
OWN_LABELS = frozenset(
    f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "managed-by", "part-of")
)
OWN_VARIABLES = "HEADRACE_"
OWN_VOLUMES = "headrace-"
OWN_MOUNTS = "/var/run/secrets/headrace.dev"

_OF_POD = {
    "restartPolicy": "headrace replaces a worker itself, and must see that it ended",
    "activeDeadlineSeconds": "headrace ends pods with it",
    "hostname": "Dask processes are reached by the pod's address",
    "subdomain": "Dask processes are reached by the pod's address",
    "hostNetwork": "processes of other tenants would share the pod's address; a CNI plugin does without",
    "containers": "the pod would not end with its Dask process; write a sidecar into `initContainers`, with "
    "`restartPolicy: Always`",
    "ephemeralContainers": "they are added to pods that run",
    "terminationGracePeriodSeconds": "write `termination_grace_period_seconds`",
    "serviceAccountName": "write `service_account`",
    "serviceAccount": "write `service_account`",
}
_OF_CONTAINER = {
    "name": "headrace finds the container by its name",
    "args": "headrace says there what runs; write an entry point as `command`, which gets it as its arguments",
    "image": "write `image`",
    "imagePullPolicy": "write `image_pull_policy`",
    "terminationMessagePolicy": "headrace reads there why a process ended at once",
    "stdin": "nobody writes to it",
    "tty": "logs would be changed by it",
}


def check_name(name: str) -> str:
    """Return the name of a label or an annotation; raise ValueError for one that headrace sets itself."""
    prefix = name.partition("/")[0]
    if name in OWN_LABELS or f".{prefix}/".endswith(f".{OWN}"):
        raise ValueError("headrace sets it itself; choose another name")
    return name


def check_variable(name: str) -> str:
    """Return the name of a variable; raise ValueError for one that headrace sets itself."""
    if name.upper().startswith(OWN_VARIABLES):
        raise ValueError("variables with HEADRACE_ in front are headrace's own; choose another name")
    return name


def check_volume(name: str) -> str:
    """Return the name of a volume; raise ValueError for one that headrace sets itself."""
    if name.startswith(OWN_VOLUMES):
        raise ValueError(f"{name!r} is named as headrace's own volumes are; choose another name")
    return name


def check_plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of a pod; raise ValueError for what JSON does not have: YAML also reads dates and other keys."""
    _check_values(config, "")
    return config


def check_pod(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is laid on a pod's spec; raise ValueError if headrace would not work with it."""
    _check_keys(config, _OF_POD)
    for volume in _named(config, "volumes"):
        check_volume(volume)
    return config


def check_container(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is laid on the Dask container; raise ValueError if headrace would not work with it."""
    _check_keys(config, _OF_CONTAINER)
    for variable in _named(config, "env"):
        check_variable(variable)
    for path in _named(config, "volumeMounts", "mountPath"):
        if f"{path}/".startswith(f"{OWN_MOUNTS}/"):
            raise ValueError(f"volumeMounts: headrace has its own volume at {OWN_MOUNTS}; choose another path")
    return config


def _check_keys(config: Mapping[str, Any], reserved: Mapping[str, str]) -> None:
    for key in config:
        if key in reserved:
            raise ValueError(f"{key} cannot be set here: {reserved[key]}")


def _named(config: Mapping[str, Any], key: str, name: str = "name") -> list[str]:
    """Return the names of a list's entries; raise ValueError if it is no list. The API server checks the entries."""
    entries: object = config.get(key, [])
    if not isinstance(entries, list):
        raise ValueError(f"{key} must be a list")  # noqa: TRY004 pydantic wants it
    found = [cast("Mapping[str, object]", entry).get(name) for entry in entries if isinstance(entry, Mapping)]
    return [value for value in found if isinstance(value, str)]


def _check_values(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise ValueError(f"{path}{key}: is no text; put the key in quotes")  # noqa: TRY004 pydantic wants it
            _check_values(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            _check_values(inner, f"{path}{index}.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path[:-1]}: is no number that JSON has")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{path[:-1]}: is read as a {type(value).__name__}; put it in quotes")
