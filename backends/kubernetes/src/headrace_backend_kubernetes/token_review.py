"""Asks the API server whose token a pod has sent."""

from __future__ import annotations

import asyncio

import msgspec

from headrace.v1.enums import WaitReason
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.attestation import BoundPod, Review
from headrace_backend_kubernetes.faults import ApiError, Unreachable, silent
from headrace_backend_kubernetes.objects import Slim
from headrace_chassis.identity.service_account import reviewed
from headrace_controller.backends.base import BackendError

_FORBIDDEN = 403
_REVIEW_SECONDS = 8.0  # the agent waits for 10 s, and is to hear why
_AWAY = WaitReason.PLATFORM_AWAY


class _User(Slim):
    username: str = ""
    extra: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])


class _ReviewStatus(Slim):
    authenticated: bool = False
    audiences: list[str] = msgspec.field(default_factory=list[str])
    user: _User = msgspec.field(default_factory=_User)


class _TokenReview(Slim):
    status: _ReviewStatus = msgspec.field(default_factory=_ReviewStatus)


_decode = msgspec.json.Decoder(_TokenReview).decode


def token_reviews(api: Api, audience: str, *, within: float = _REVIEW_SECONDS) -> Review:
    """Returns what asks the API server, for one audience, and gives up after some seconds."""

    async def review(token: str) -> BoundPod | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        try:
            async with asyncio.timeout(within):
                answer = await api.review_token(body)
        except TimeoutError:
            raise BackendError(silent(TimeoutError(f"no review within {within:g} s")), wait=_AWAY) from None
        except ApiError as error:
            raise BackendError(_sentence(error)) from error
        except Unreachable as error:
            raise BackendError(silent(error), wait=_AWAY) from error
        return bound_pod(answer, audience)

    return review


def bound_pod(answer: bytes, audience: str) -> BoundPod | None:
    """Returns the pod that a review confirms; None if the token is not good for the audience, or bound to no pod."""
    status = _decode(answer).status
    if not status.authenticated or audience not in status.audiences:
        return None
    account = reviewed(status.user.username, status.user.extra)
    return BoundPod(account.namespace, account.pod, account.pod_uid) if account else None


def _sentence(error: ApiError) -> str:
    if error.code == _FORBIDDEN:
        return (
            "the controller's service account may not create tokenreviews: bind it to a ClusterRole that may, or set "
            "backends.kubernetes.enrolment to `secret`"
        )
    return f"the API server cannot review a pod's token: {error}"
