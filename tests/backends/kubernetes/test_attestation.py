"""Tokens of pods: what is asked of the API server, what is not, and what nobody is taken for."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import TokenExpired, TokenInvalid, TooManyRequests
from headrace_backend_kubernetes.attestation import BoundPod, KnownPod, PodAttestation
from headrace_controller.backends.base import Attestation, BackendError

AUDIENCE = "headrace/test"
NOW = 1_000_000.0
POD = BoundPod("dask", "hr-c1-scheduler-1", "uid-1")


def token(pod: BoundPod = POD, *, salt: str = "", bound: Any = None, **changes: Any) -> str:
    """As a kubelet mounts it. Nobody but the API server can verify the signature."""
    claims = {
        "aud": [AUDIENCE],
        "exp": NOW + 3600,
        "iss": "https://kubernetes.default.svc",
        "kubernetes.io": bound or {"namespace": pod.namespace, "pod": {"name": pod.name, "uid": pod.uid}},
        "salt": salt,
        **changes,
    }
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.c2ln"


@dataclass
class Pod:
    uid: str = POD.uid
    cluster: str = "c1"
    process: str = "scheduler"
    launched: float = NOW - 5
    began: float = 0.0
    ended: bool = False


@dataclass
class ApiServer:
    """Knows the tokens that it has issued."""

    issued: dict[str, BoundPod] = field(default_factory=dict[str, BoundPod])
    reviewed: list[str] = field(default_factory=list[str])
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False

    async def review(self, token: str) -> BoundPod | None:
        self.reviewed.append(token)
        await self.answers.wait()
        if self.away:
            raise BackendError("the API server does not answer")
        return self.issued.get(token)


@dataclass
class Deployment:
    api: ApiServer = field(default_factory=ApiServer)
    pods: dict[tuple[str, str], Pod] = field(default_factory=dict[tuple[str, str], Pod])

    def __post_init__(self) -> None:
        self.api.answers.set()
        self.pods[POD.namespace, POD.name] = Pod()
        self.attestation = PodAttestation(self.api.review, self._find, AUDIENCE, clock=lambda: NOW)

    def _find(self, namespace: str, name: str) -> KnownPod | None:
        return self.pods.get((namespace, name))

    def issue(self, pod: BoundPod = POD, **changes: Any) -> str:
        text = token(pod, **changes)
        self.api.issued[text] = pod
        return text


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


async def refused(deployment: Deployment, text: str, match: str, error: type[Exception] = TokenInvalid) -> None:
    with pytest.raises(error, match=match):
        await deployment.attestation.attest(text)


async def test_a_pods_token_names_its_process_and_its_launch(deployment: Deployment) -> None:
    found = await deployment.attestation.attest(deployment.issue())
    assert found == Attestation(cluster="c1", process="scheduler", launch="uid-1", launched=NOW - 5)


async def test_a_pod_in_standby_belongs_to_no_cluster_until_it_is_given_to_one(deployment: Deployment) -> None:
    deployment.pods[POD.namespace, POD.name] = Pod(cluster="", process="")
    text = deployment.issue()
    assert (await deployment.attestation.attest(text)).cluster == ""
    deployment.pods[POD.namespace, POD.name] = Pod(cluster="c9", process="w-1", launched=NOW)
    assert (await deployment.attestation.attest(text)).cluster == "c9"  # only what the API server said is cached
    assert len(deployment.api.reviewed) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        "a..c",
        "..",
        "a.!!!.c",
        f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c",
        f"a.{base64.urlsafe_b64encode(b'{}').decode()}.c",
        f"a.{base64.urlsafe_b64encode(b'[' * 3000).decode()}.c",
        token(exp="soon"),
        token(bound={"namespace": "dask"}),  # of a service account, bound to no pod
        token(bound={"namespace": "dask", "pod": {"name": ["x"], "uid": "uid-1"}}),
    ],
)
async def test_what_is_no_pods_token_is_refused_without_asking(deployment: Deployment, text: str) -> None:
    await refused(deployment, text, "none of a pod")
    assert deployment.api.reviewed == []


@given(st.text(), st.text())
def test_no_text_is_taken_for_a_pods_token(one: str, other: str) -> None:
    with pytest.raises(TokenInvalid):
        asyncio.run(Deployment().attestation.attest(f"{one}.{other}.x"))


async def test_tokens_for_others_are_refused_without_asking(deployment: Deployment) -> None:
    await refused(deployment, token(aud=["https://kubernetes.default.svc"]), "another audience than 'headrace/test'")
    await refused(deployment, token(aud="headrace/prod"), "another audience")
    await refused(deployment, token(exp=NOW), "expired", TokenExpired)
    await refused(deployment, token(BoundPod("dask", POD.name, "uid-0")), "an earlier pod")
    await refused(deployment, token(BoundPod("other", POD.name, POD.uid)), "is known yet", BackendError)
    deployment.pods[POD.namespace, POD.name] = Pod(ended=True)
    await refused(deployment, token(), "has ended")
    assert deployment.api.reviewed == []


async def test_a_forged_token_that_names_a_real_pod_is_not_confirmed(deployment: Deployment) -> None:
    await refused(deployment, token(), "does not confirm")
    other = BoundPod("dask", "hr-c2-scheduler-1", "uid-2")
    claims_another = token(salt="x")
    deployment.api.issued[claims_another] = other
    await refused(deployment, claims_another, "does not confirm")


async def test_forged_tokens_cost_few_requests_and_keep_no_other_pod_out(deployment: Deployment) -> None:
    text = deployment.issue()
    answers = await asyncio.gather(
        *(deployment.attestation.attest(token(salt=str(number))) for number in range(1000)), return_exceptions=True
    )
    assert len(deployment.api.reviewed) == 5
    assert sum(isinstance(answer, TooManyRequests) for answer in answers) == 995
    neighbour = BoundPod("dask", "hr-c2-scheduler-1", "uid-2")
    deployment.pods[neighbour.namespace, neighbour.name] = Pod(uid="uid-2", cluster="c2")
    assert (await deployment.attestation.attest(deployment.issue(neighbour))).cluster == "c2"
    await refused(deployment, text, "too many different tokens", TooManyRequests)


async def test_a_pod_that_has_waited_for_hours_was_launched_when_it_began(deployment: Deployment) -> None:
    pod = deployment.pods[POD.namespace, POD.name]
    pod.launched = NOW - 10_000
    text = deployment.issue()
    await refused(deployment, text, "not known to run yet", BackendError)
    pod.began = NOW - 2
    assert (await deployment.attestation.attest(text)).launched == NOW - 2
    pod.launched, pod.began = NOW - 3, NOW - 9000  # from standby
    assert (await deployment.attestation.attest(text)).launched == NOW - 3


async def test_an_answer_is_cached_whatever_it_is(deployment: Deployment) -> None:
    text = deployment.issue()
    for _ in range(100):
        await deployment.attestation.attest(text)
        await refused(deployment, token(salt="forged"), "does not confirm")
    assert len(deployment.api.reviewed) == 2


async def test_what_waits_for_the_api_server_is_bounded(deployment: Deployment) -> None:
    deployment.api.answers.clear()
    pods = [BoundPod("dask", f"pod-{number}", f"uid-{number}") for number in range(1100)]
    for pod in pods:
        deployment.pods[pod.namespace, pod.name] = Pod(uid=pod.uid, cluster=pod.name)
    asking = [asyncio.create_task(deployment.attestation.attest(deployment.issue(pod))) for pod in pods]
    done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 100
    assert all(isinstance(task.exception(), TooManyRequests) for task in done)
    assert len(deployment.api.reviewed) == 32
    deployment.api.answers.set()
    found = [task.result() for task in (await asyncio.wait(asking))[0] if task.exception() is None]
    assert {one.cluster for one in found} == {pod.name for pod in pods[:1000]}


async def test_a_pod_that_ends_meanwhile_is_refused(deployment: Deployment) -> None:
    deployment.api.answers.clear()
    asking = asyncio.create_task(deployment.attestation.attest(deployment.issue()))
    await asyncio.sleep(0)
    deployment.pods[POD.namespace, POD.name].ended = True
    deployment.api.answers.set()
    with pytest.raises(TokenInvalid, match="has ended"):
        await asking


async def test_an_api_server_that_is_away_is_asked_again(deployment: Deployment) -> None:
    text = deployment.issue()
    deployment.api.away = True
    await refused(deployment, text, "does not answer", BackendError)
    deployment.api.away = False
    assert await deployment.attestation.attest(text)
