"""The hops of `headrace doctor --kubernetes`: what the pod that it runs in can do with the Kubernetes around it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

from headrace._target.pod import Pod
from headrace._wire.diagnosis import Hop
from headrace.cli.version import versions

CALL_SECONDS = 5.0
OLDEST_DASK = "2024.10"
_RIGHTS: dict[str, tuple[str, ...]] = {
    "pods": ("create", "get", "list", "watch", "patch", "delete", "deletecollection"),
    "pods/log": ("get",),
    "events": ("list", "watch"),
    "secrets": ("create", "get", "patch", "delete"),
}
"""What the controller does in a namespace of its pods."""
_CONTROLLER = "kubectl exec -n NAMESPACE deploy/headrace-controller -- python3 -m headrace.cli doctor --kubernetes"


async def walk(namespace: str) -> AsyncIterator[Hop]:
    """Yield each hop; end with the first failed one that the later ones need. "" is the pod's own namespace."""
    pod = Pod.find()
    if pod is None:
        yield Hop("pod", works=False, message=f"this is no pod; run this in the controller's pod: {_CONTROLLER}")
        return
    yield _image()
    yield await _dns()
    if not pod.namespace:
        yield _unchecked("this pod has no token of a service account")
        return
    if find_spec("kubernetes") is None:
        yield _unchecked("the Kubernetes client is not installed here (`pip install 'headrace[kubernetes]'`)")
        return
    account = await _call(_account)
    yield account
    if not account.works:
        return
    where = namespace or pod.namespace
    for hop in (await _call(_rights, where), await _call(_reviews)):
        yield hop


def _unchecked(why: str) -> Hop:
    message = (
        f"not checked, nor are rights: {why}. Users need neither; an administrator checks the controller's with "
        f"{_CONTROLLER}"
    )
    return Hop("API server", works=True, checked=False, message=message)


def _image() -> Hop:
    """Say whether this pod's image could be the image of clusters."""
    found = versions()
    dask = found["distributed"]
    if dask is None:
        message = "has no Dask; an image of clusters needs `pip install 'headrace[dask]'`"
        return Hop("image", works=True, message=message)
    about = f"headrace {found['headrace']} beside Dask {dask}"
    if tuple(map(int, dask.split(".")[:2])) < tuple(map(int, OLDEST_DASK.split("."))):
        message = f"has {about}, which is too old; install {OLDEST_DASK} or newer"
        return Hop("image", works=False, message=message)
    return Hop("image", works=True, message=f"has {about}: clusters can run in it")


async def _dns() -> Hop:
    name = "kubernetes.default.svc"
    try:
        async with asyncio.timeout(CALL_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        message = (
            f"{name} has no address ({error or 'no answer'}); check that the DNS pods of kube-system run, and that a "
            "NetworkPolicy lets this pod reach them on port 53"
        )
        return Hop("DNS", works=False, message=message)
    return Hop("DNS", works=True, message=f"{name} is {found[0][4][0]}")


async def _call(check: Any, *arguments: str) -> Hop:
    """Run a check of the API server in a thread."""
    try:
        return await asyncio.to_thread(check, *arguments)
    except Exception as error:  # noqa: BLE001 the client raises what its libraries raise
        body = getattr(error, "body", None) or getattr(error, "reason", None) or error
        message = (
            f"the API server does not answer as it should ({str(body)[:300]}); check that a NetworkPolicy lets this "
            "pod reach it"
        )
        return Hop("API server", works=False, message=message)


def _api() -> Any:
    from kubernetes import client, config

    config.load_incluster_config()
    return client


def _account() -> Hop:
    client = _api()
    review = client.AuthenticationV1Api().create_self_subject_review(
        client.V1SelfSubjectReview(), _request_timeout=CALL_SECONDS
    )
    return Hop("API server", works=True, message=f"it knows this pod as {review.status.user_info.username}")


def _rights(namespace: str) -> Hop:
    """Compare what the service account may do with what the controller does."""
    missing = {
        resource: [verb for verb in verbs if not _may(namespace, verb, resource)] for resource, verbs in _RIGHTS.items()
    }
    missing = {resource: verbs for resource, verbs in missing.items() if verbs}
    if not missing:
        return Hop("rights", works=True, message=f"may do all that the controller does in {namespace}")
    if len(missing) == len(_RIGHTS) and missing["pods"] == list(_RIGHTS["pods"]):
        message = (
            f"may not run pods in {namespace}, as a user's pod should not; for the controller's rights: {_CONTROLLER}"
        )
        return Hop("rights", works=True, message=message)
    what = "; ".join(f"{', '.join(verbs)} {resource}" for resource, verbs in missing.items())
    message = f"may not in {namespace}: {what}; give the service account the chart's Role there (value rbac)"
    return Hop("rights", works=False, message=message)


def _reviews() -> Hop:
    if _may("", "create", "tokenreviews", "authentication.k8s.io"):
        return Hop("enrolment", works=True, message="may review tokens: pods enrol with their service account's")
    message = "may not review tokens: where the controller may not either, set the chart's value enrolment to secret"
    return Hop("enrolment", works=True, message=message)


def _may(namespace: str, verb: str, resource: str, group: str = "") -> bool:
    client = _api()
    name, _, subresource = resource.partition("/")
    attributes = client.V1ResourceAttributes(
        namespace=namespace or None, verb=verb, group=group, resource=name, subresource=subresource or None
    )
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    answer = client.AuthorizationV1Api().create_self_subject_access_review(review, _request_timeout=CALL_SECONDS)
    return bool(answer.status.allowed)
