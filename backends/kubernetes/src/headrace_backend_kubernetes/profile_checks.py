"""Asks the API server whether the pods of profiles could be made: a dry run of each kind of pod."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_settings import PodSettings
from headrace_backend_kubernetes.refusals import Fault, Layers, concerns_policy, faults, is_of_namespace
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import BackendError, UnfitProfiles
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, Role
from headrace_controller.model import Resources

log = get_logger()

_CHECK_SECONDS = 30.0
_NOBODY = "headrace-policy-check"


class Creates(Protocol):
    """What is asked."""

    async def create_pod(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> object:
        """Creates a pod, or only has it checked; raises `ApiError` or `Unreachable`."""
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of pod: those of a role of a profile, or of a group of its workers."""

    profile: str
    role: Role
    group: str = ""


async def check_profiles(
    templates: PodTemplates, make: Callable[[ProcessSpec], Mapping[str, Any]], api: Creates
) -> None:
    """Raise `UnfitProfiles` for pods that the API server would refuse, `BackendError` if it cannot be asked now.

    Parameters
    ----------
    templates
        The profiles, as they would be.
    make
        Makes the whole pod of a process with these templates.
    """
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            answers = await asyncio.gather(*(_ask(kind, templates, make, api) for kind in _kinds(templates)))
    except TimeoutError:
        raise BackendError(f"the Kubernetes API server has not checked all pods in {_CHECK_SECONDS:.0f} s") from None
    except Unreachable as error:
        raise BackendError(f"the Kubernetes API server does not answer: {error}") from error
    if found := list(dict.fromkeys(fault for answer in answers for fault in answer)):
        raise UnfitProfiles(found)


def _kinds(templates: PodTemplates) -> Iterator[_Kind]:
    """Yield the kinds of pods; of those that are alike, as most profiles have them, the first."""
    seen: list[tuple[str, Role, PodSettings]] = []
    for key, profile in templates.profiles.items():
        workers = [_Kind(key, Role.WORKER, group) for group in profile.groups]
        for kind in (_Kind(key, Role.SCHEDULER), _Kind(key, Role.WORKER), *workers):
            like = templates.namespace(key), kind.role, templates.settings(key, kind.role, kind.group)
            if like not in seen:
                seen.append(like)
                yield kind


async def _ask(
    kind: _Kind, templates: PodTemplates, make: Callable[[ProcessSpec], Mapping[str, Any]], api: Creates
) -> list[Fault]:
    profile, namespace = templates.profiles[kind.profile], templates.namespace(kind.profile)
    settings = templates.settings(kind.profile, kind.role, kind.group)
    if not settings.image:
        where = "set one here, or for all profiles as backends.kubernetes.pods.image in the controller's settings"
        return [((kind.profile, "image"), f"its pods have no image: {where}")]
    try:
        await api.create_pod(namespace, make(_sample(kind, settings)), dry_run=True)
    except ApiError as error:
        if is_of_namespace(error) and profile.namespace is None:
            raise BackendError(f"the controller cannot create pods in its namespace {namespace}: {error}") from error
        if concerns_policy(error):
            return faults(error, Layers.of(kind.profile, profile, kind.role, kind.group), namespace)
        log.warning("pods of a profile could not be checked", profile=kind.profile, reason=str(error))
        if error.is_passing or error.code == 401:
            raise BackendError(f"the Kubernetes API server does not check pods now: {error}") from error
    return []


def _sample(kind: _Kind, settings: PodSettings) -> ProcessSpec:
    """Return a process of nobody. Sizes are users' to choose, and checked when they do."""
    gpus = 1 if kind.role is Role.WORKER and "gpu_resource" in settings.model_fields_set else 0
    return ProcessSpec(
        key=ProcessKey(_NOBODY, SCHEDULER if kind.role is Role.SCHEDULER else "worker"),
        backend="",
        role=kind.role,
        generation=0,
        owner=_NOBODY,
        agent_token="",
        resources=Resources(gpus=gpus),
        labels={"profile": kind.profile, **({"group": kind.group} if kind.group else {})},
    )
