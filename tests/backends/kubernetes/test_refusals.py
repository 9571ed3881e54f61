"""The API server's refusals, as Kubernetes 1.37 words them, and the settings that they are about."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_backend_kubernetes.faults import ApiError
from headrace_backend_kubernetes.objects import Cause, Details
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_backend_kubernetes.refusals import Layers, concerns_policy, faults, is_of_namespace
from headrace_controller.backends.process import Role


def invalid(*causes: tuple[str, str]) -> ApiError:
    found = [Cause(message=message, field=field) for field, message in causes]
    return ApiError(422, "Invalid", 'Pod "p" is invalid: [...]', Details(causes=found))


def forbidden(sentence: str) -> ApiError:
    return ApiError(403, "Forbidden", f'pods "p" is forbidden: {sentence}')


def told(error: ApiError, settings: dict[str, Any], role: Role = Role.WORKER, group: str = "") -> list[tuple[str, str]]:
    layers = Layers.of("p", ProfileSettings.model_validate(settings), role, group)
    return [(".".join(map(str, path)), reason) for path, reason in faults(error, layers, "lab")]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"tolerations": [{"key": "a b"}]}, "p.tolerations"),
        ({"worker": {"tolerations": [{"key": "a b"}]}}, "p.worker.tolerations"),
        ({"extra_pod_config": {"tolerations": [{"key": "a b"}]}}, "p.extra_pod_config.tolerations"),
        ({"tolerations": [{}], "groups": {"g": {"tolerations": [{"key": "a b"}]}}}, "p.groups.g.tolerations"),
        ({"scheduler": {"tolerations": [{"key": "a b"}]}}, "p"),
        ({}, "p"),
    ],
)
def test_the_layer_that_is_closest_to_the_pod_is_named(settings: dict[str, Any], path: str) -> None:
    error = invalid(("spec.tolerations[0].key", "Invalid value: \"a b\": name part must (e.g. 'x', regex)"))
    [(found, reason)] = told(error, settings, group="g")
    assert found == path
    assert reason.startswith('Invalid value: "a b": name part must (the pod\'s spec.tolerations[0].key)')
    assert ("backends.kubernetes.pods" in reason) == (path == "p")


@pytest.mark.parametrize(
    ("error", "settings", "expected"),
    [
        (
            ApiError(400, "BadRequest", 'strict decoding error: unknown field "spec.a.b", duplicate field "spec.c"'),
            {"extra_pod_config": {"a": {"b": 1}, "c": 1}},
            [
                ("p.extra_pod_config.a.b", "there is no such field (the pod's spec.a.b)"),
                ("p.extra_pod_config.c", "the field is there twice (the pod's spec.c)"),
            ],
        ),
        (
            ApiError(400, "BadRequest", 'strict decoding error: unknown field "spec.containers[0].livenessProbe.x"'),
            {"extra_container_config": {"livenessProbe": {"x": 1}}},
            [
                (
                    "p.extra_container_config.livenessProbe.x",
                    "there is no such field (the pod's spec.containers[0].livenessProbe.x)",
                )
            ],
        ),
        (
            ApiError(
                400,
                "BadRequest",
                'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field '
                "PodSpec.spec.affinity of type v1.Affinity",
            ),
            {"extra_pod_config": {"affinity": 5}},
            [("p.extra_pod_config.affinity", "has a value of the wrong type (the pod's spec.affinity)")],
        ),
        (
            ApiError(400, "BadRequest", 'Pod in version "v1" cannot be handled as a Pod: quantities must match'),
            {"resources": {"a/b": 1}},
            [("p", "quantities must match")],
        ),
        (
            invalid(
                ("spec.containers[0].resources.limits[x]", "must be a standard resource"),
                ("spec.containers[0].resources.requests[x]", "must be a standard resource"),
            ),
            {"gpu_resource": "x"},
            [("p.gpu_resource", "must be a standard resource (the pod's spec.containers[0].resources.limits[x])")],
        ),
        (
            forbidden("no PriorityClass with name nope was found"),
            {"worker": {"priority_class": "nope"}},
            [
                (
                    "p.worker.priority_class",
                    "no PriorityClass with name nope was found (the pod's spec.priorityClassName)",
                )
            ],
        ),
        (
            forbidden('pod rejected: RuntimeClass "nope" not found'),
            {"runtime_class": "nope"},
            [("p.runtime_class", 'pod rejected: RuntimeClass "nope" not found (the pod\'s spec.runtimeClassName)')],
        ),
        (
            forbidden('violates PodSecurity "restricted:latest": runAsUser=0'),
            {"security_context": {"runAsUser": 0}},
            [
                (
                    "p.security_context",
                    'violates PodSecurity "restricted:latest": runAsUser=0 (the pod\'s spec.securityContext)',
                )
            ],
        ),
        (
            ApiError(403, "Forbidden", 'admission webhook "images.example.org" denied the request: unsigned image'),
            {"image": "x:1"},
            [("p", 'admission webhook "images.example.org" denied the request: unsigned image')],
        ),
        (
            ApiError(404, "NotFound", 'namespaces "lab" not found'),
            {"namespace": "lab"},
            [
                (
                    "p.namespace",
                    'namespaces "lab" not found; create the namespace lab and give the controller its Role there',
                )
            ],
        ),
    ],
)
def test_what_is_refused_is_named(error: ApiError, settings: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert told(error, settings) == expected


@pytest.mark.parametrize(
    ("error", "concerns"),
    [
        (forbidden("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"), False),
        (forbidden("failed quota: q: must specify limits.cpu"), False),
        (ApiError(400, "BadRequest", 'admission webhook "x" does not support dry run'), False),
        (ApiError(401, "Unauthorized", "Unauthorized"), False),
        (ApiError(503, "ServiceUnavailable", "away"), False),
        (forbidden('violates PodSecurity "restricted:latest": hostPath'), True),
        (ApiError(404, "NotFound", 'namespaces "lab" not found'), True),
    ],
)
def test_no_room_and_no_answer_say_nothing_about_a_policy(error: ApiError, concerns: bool) -> None:
    assert concerns_policy(error) == concerns


def test_a_right_that_is_missing_is_of_the_namespace() -> None:
    sentence = 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "lab"'
    assert is_of_namespace(ApiError(403, "Forbidden", sentence))
    assert not is_of_namespace(forbidden("no PriorityClass with name x was found"))
