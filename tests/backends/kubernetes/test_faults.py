"""What the API server's refusals mean. The sentences are those of Kubernetes 1.37."""

from __future__ import annotations

import pytest

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error

AWAY = WaitReason.PLATFORM_AWAY
QUOTA = 'pods "p" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'


@pytest.mark.parametrize(
    ("error", "cause", "wait"),
    [
        (ApiError(403, "Forbidden", QUOTA), ExitCause.QUOTA_EXCEEDED, None),
        (
            ApiError(403, "Forbidden", 'pods "p" is forbidden: violates PodSecurity "restricted:latest"'),
            ExitCause.REFUSED,
            None,
        ),
        (ApiError(403, "Forbidden", 'User "u" cannot create resource "pods"'), ExitCause.REFUSED, None),
        (ApiError(404, "NotFound", 'namespaces "none" not found'), ExitCause.REFUSED, None),
        (
            ApiError(422, "Invalid", 'Pod "p" is invalid: spec.containers[0].image: Required value'),
            ExitCause.REFUSED,
            None,
        ),
        (ApiError(400, "", 'admission webhook "w.example.org" denied the request: no'), ExitCause.REFUSED, None),
        (ApiError(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"'), None, None),
        (ApiError(401, "Unauthorized", "Unauthorized"), None, None),
        (ApiError(429, "TooManyRequests", "too many requests"), None, AWAY),
        (ApiError(500, "InternalError", 'failed calling webhook "w": connection refused'), None, None),
        (ApiError(503, "ServiceUnavailable", "etcdserver: no leader"), None, AWAY),
        (ApiError(500, "", "etcdserver: request timed out"), None, AWAY),
        (ApiError(500, "", "etcdserver: leader changed"), None, AWAY),
        (ApiError(500, "", "etcdserver: request is too large"), ExitCause.REFUSED, None),
        (ApiError(500, "", "rpc error: code = Unavailable desc = transport is closing"), None, AWAY),
        (ApiError(500, "ServerTimeout", "The POST operation against Pod could not be completed"), None, AWAY),
        (Unreachable(OSError("connection refused")), None, AWAY),
    ],
)
def test_a_refusal_is_permanent_only_if_it_stays_and_waited_for_only_if_it_passes(
    error: ApiError | Unreachable, cause: ExitCause | None, wait: WaitReason | None
) -> None:
    found = backend_error("pod p cannot be created", error)
    assert (found.cause, found.wait) == (cause, wait)
    assert str(error) in str(found)
    assert str(found).startswith("pod p cannot be created: ")


def test_a_quota_that_two_creates_change_at_once_is_tried_again() -> None:
    assert ApiError(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q": modified').is_passing
    assert not ApiError(409, "AlreadyExists", 'pods "p" already exists').is_passing


def test_another_pod_of_the_same_name_is_as_good_as_gone() -> None:
    assert ApiError(409, "Conflict", "Precondition failed: UID in precondition: 1, UID in object meta: 2").is_gone
    assert ApiError(404, "NotFound", 'pods "p" not found').is_gone
    assert not ApiError(409, "Conflict", 'Operation cannot be fulfilled on pods "p": modified').is_gone
