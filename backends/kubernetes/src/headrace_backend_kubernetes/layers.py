"""Lays the settings of a backend, a profile, a role and a group of workers on one another. Pure."""

from __future__ import annotations

from typing import Any

from headrace_backend_kubernetes.merging import merge
from headrace_backend_kubernetes.profile_settings import PodDefaults, PodSettings, ProfileSettings
from headrace_controller.backends.process import Role

_WHOLE = ("environment", "volumes")
"""Mappings whose entries are replaced, not merged: half of a Secret and half of a text is nothing."""


def layered(defaults: PodDefaults, profile: ProfileSettings, role: Role, group: str = "") -> PodSettings:
    """Return the settings of a role's pods. What is closer to the pod counts: group, role, profile, defaults."""
    layers: list[PodSettings] = []
    for of in (defaults, profile):
        layers += [of, of.scheduler if role is Role.SCHEDULER else of.worker]
    if role is Role.WORKER and group in profile.groups:
        layers.append(profile.groups[group])
    found: dict[str, Any] = {}
    for layer in layers:
        found = _laid(found, layer)
    return PodSettings.model_validate(found)


def _laid(below: dict[str, Any], layer: PodSettings) -> dict[str, Any]:
    given = layer.model_dump(include=set(PodSettings.model_fields), exclude_unset=True)
    laid = merge(below, given)
    for key in _WHOLE:
        if key in given and key in below:
            laid[key] = {**below[key], **given[key]}
    return laid
