"""What the API server is asked before a policy is in force: each kind of pod once, and what its silence means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_checks import check_profiles
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_controller.backends.base import BackendError, UnfitProfiles

NO_CLASS = ApiError(403, "Forbidden", 'pods "p" is forbidden: no PriorityClass with name nope was found')
NO_RIGHT = ApiError(403, "Forbidden", 'pods is forbidden: User "u" cannot create resource "pods" in API group ""')


class Answers:
    """Answers each pod by its namespace."""

    def __init__(self, **by_namespace: Exception) -> None:
        self.by_namespace = by_namespace
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def create_pod(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> object:
        assert dry_run
        self.asked.append((namespace, body))
        if namespace in self.by_namespace:
            raise self.by_namespace[namespace]
        return None


async def check(answers: Answers, profiles: dict[str, dict[str, Any]], image: str = "x:1") -> None:
    settings = {key: ProfileSettings.model_validate(one) for key, one in profiles.items()}
    templates = PodTemplates(PodDefaults(image=image), settings, "own")
    await check_profiles(templates, templates.of, answers)


async def test_pods_that_are_alike_are_checked_once() -> None:
    answers = Answers()
    await check(
        answers,
        {
            "a": {},
            "b": {},
            "c": {"namespace": "lab", "groups": {"same": {}, "gpu": {"gpu_resource": "amd.com/gpu"}}},
        },
    )
    assert [namespace for namespace, _ in answers.asked] == ["own", "own", "lab", "lab", "lab"]
    gpu = answers.asked[-1][1]["spec"]["containers"][0]["resources"]
    assert gpu == {"requests": {"amd.com/gpu": "1"}, "limits": {"amd.com/gpu": "1"}}


async def test_all_that_is_refused_is_told_once() -> None:
    answers = Answers(own=NO_CLASS, lab=ApiError(404, "NotFound", 'namespaces "lab" not found'))
    with pytest.raises(UnfitProfiles) as caught:
        await check(answers, {"a": {"priority_class": "nope"}, "b": {"namespace": "lab"}})
    assert [path for path, _ in caught.value.faults] == [("a", "priority_class"), ("b", "namespace")]


async def test_a_profile_without_an_image_is_refused_before_anything_is_asked() -> None:
    answers = Answers()
    with pytest.raises(UnfitProfiles, match=r"a\.image: its pods have no image: set one here, or for all profiles as"):
        await check(answers, {"a": {}}, image="")
    assert answers.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unreachable(OSError("no route")), "does not answer: no route"),
        (ApiError(503, "ServiceUnavailable", "starting"), "does not check pods now: starting"),
        (ApiError(401, "Unauthorized", "Unauthorized"), "does not check pods now: Unauthorized"),
        (NO_RIGHT, "the controller cannot create pods in its namespace own: pods is forbidden"),
    ],
)
async def test_silence_is_no_refusal(answer: Exception, reason: str) -> None:
    with pytest.raises(BackendError, match=reason):
        await check(Answers(own=answer), {"a": {}})


@pytest.mark.parametrize(
    "answer",
    [
        ApiError(403, "Forbidden", 'pods "p" is forbidden: exceeded quota: q, requested: pods=1'),
        ApiError(400, "BadRequest", 'admission webhook "x" does not support dry run'),
    ],
)
async def test_a_full_quota_does_not_refuse_a_policy(answer: Exception) -> None:
    await check(Answers(own=answer), {"a": {}})


async def test_a_namespace_that_a_profile_names_without_rights_is_its_fault() -> None:
    with pytest.raises(UnfitProfiles, match=r"a\.namespace: pods is forbidden: .*give the controller its Role there"):
        await check(Answers(lab=NO_RIGHT), {"a": {"namespace": "lab"}})
