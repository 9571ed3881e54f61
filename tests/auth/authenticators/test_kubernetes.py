"""Logins of pods: what is decided before and after the API server is asked. The real one is in tests/kubernetes."""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64encode
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from pydantic import ValidationError

from headrace.errors import (
    BadCredentials,
    GatewayServerError,
    HeadraceError,
    PermissionDenied,
    TokenExpired,
    TooManyRequests,
)
from headrace_auth.authenticators.base import ChecksTokens, KnowsUsers
from headrace_auth.authenticators.kubernetes import PLACES, PLACES_OF_POD, Pods, Settings, create
from headrace_auth.authenticators.kubernetes_api import PodMarks
from headrace_auth.authenticators.kubernetes_tokens import Claims, read_claims
from headrace_auth.authenticators.registry import read_settings
from headrace_chassis.identity.service_account import PodAccount

KEY = "a key of nobody, which is long enough"
CLUSTER = "https://kubernetes.default.svc"
ANN = PodAccount("notebooks", "default", "jupyter-ann", "uid-1")


def token(
    namespace: str = "notebooks",
    account: str = "default",
    pod: str | None = "jupyter-ann",
    audience: object = CLUSTER,
    seconds: float = 3600,
) -> str:
    bound = {"namespace": namespace, "serviceaccount": {"name": account}, **({"pod": {"name": pod}} if pod else {})}
    content = {
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "aud": audience,
        "exp": time.time() + seconds,
        "kubernetes.io": bound,
    }
    return jwt.encode(content, KEY, "HS256")


@dataclass
class FakeApi:
    """Stands in for the API server as auth knows it."""

    account: PodAccount | None = ANN
    pods: dict[str, PodMarks] = field(default_factory=dict[str, PodMarks])
    asked: list[str] = field(default_factory=list[str])
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answering.set()

    async def review(self, token: str, audience: str) -> PodAccount | None:
        self.asked.append(audience)
        await self.answering.wait()
        return self.account

    async def pod(self, namespace: str, name: str) -> PodMarks | None:
        return self.pods.get(f"{namespace}/{name}")

    async def close(self) -> None:
        pass


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def pods(api: FakeApi, own_namespace: str = "notebooks", **settings: object) -> Pods:
    return Pods(Settings.model_validate(settings), own_namespace, api)  # type: ignore[arg-type]


def test_it_checks_tokens_only(api: FakeApi) -> None:
    assert isinstance(pods(api), ChecksTokens)
    assert not isinstance(pods(api), KnowsUsers)


async def test_a_pod_is_its_service_account(api: FakeApi) -> None:
    identity = await pods(api).check_token(token())
    assert identity is not None
    assert identity.ends is not None
    assert (identity.name, identity.groups, identity.roles) == (
        "notebooks:default",
        ("notebooks",),
        frozenset({"user"}),
    )
    assert 3500 < identity.ends - time.time() <= 3600
    assert api.asked == [""], "a default token is reviewed for the API server's own audience"


async def test_a_projected_token_is_reviewed_for_our_audience_alone(api: FakeApi) -> None:
    assert await pods(api).check_token(token(audience=["headrace", CLUSTER])) is not None
    assert api.asked == ["headrace"]


async def test_tokens_of_another_kind_are_passed_on(api: FakeApi) -> None:
    one = pods(api)
    for text in ("", "hr_secret", "a.b.c", jwt.encode({"sub": "ann"}, KEY, "HS256"), "x" * 8000):
        assert await one.check_token(text) is None
    assert api.asked == []


@pytest.mark.parametrize(
    ("claims", "error", "says"),
    [
        ({"namespace": "other"}, PermissionDenied, "namespace 'other' may not log in"),
        ({"namespace": "*"}, PermissionDenied, "may not log in"),
        ({"pod": None}, BadCredentials, "bound to no pod"),
        ({"seconds": -3600}, TokenExpired, "has expired"),
    ],
)
async def test_what_cannot_be_good_costs_no_review(
    api: FakeApi, claims: dict[str, Any], error: type[HeadraceError], says: str
) -> None:
    with pytest.raises(error, match=says):
        await pods(api).check_token(token(**claims))
    assert api.asked == []


async def test_without_default_tokens_only_projected_ones_log_in(api: FakeApi) -> None:
    strict = pods(api, accept_default_tokens=False)
    with pytest.raises(BadCredentials, match="token with the audience 'headrace'"):
        await strict.check_token(token())
    assert api.asked == []
    assert await strict.check_token(token(audience="headrace")) is not None


async def test_a_dask_pods_own_token_is_no_login(api: FakeApi) -> None:
    """It has an audience of its own; the API server refuses it for any other."""
    api.account = None
    with pytest.raises(BadCredentials, match="does not accept"):
        await pods(api).check_token(token(audience="headrace/prod"))
    assert api.asked == [""]


async def test_whom_the_review_names_decides_and_not_what_the_token_says(api: FakeApi) -> None:
    api.account = PodAccount("other", "admin", "p", "u")
    with pytest.raises(PermissionDenied, match="namespace 'other' may not log in"):
        await pods(api).check_token(token())


async def test_a_review_is_kept_and_a_refusal_is_not(api: FakeApi) -> None:
    one, text = pods(api), token()
    assert await one.check_token(text) == await one.check_token(text)
    assert len(api.asked) == 1
    api.account = None
    for _ in range(2):
        with pytest.raises(BadCredentials):
            await one.check_token(token(account="gone"))
    assert len(api.asked) == 3


async def test_all_namespaces_are_let_in_by_a_star(api: FakeApi) -> None:
    api.account = PodAccount("other", "default", "p", "u")
    identity = await pods(api, namespaces=["*"], namespace_groups=False).check_token(token(namespace="other"))
    assert identity is not None
    assert (identity.name, identity.groups) == ("other:default", ())


HUB = {"notebooks": {}}


async def test_a_pod_of_a_spawner_is_the_user_that_is_written_on_it(api: FakeApi) -> None:
    api.pods["notebooks/jupyter-ann"] = PodMarks("uid-1", {}, {"hub.jupyter.org/username": "ann"})
    assert await named(pods(api, spawners=HUB)) == "notebooks:ann"
    assert await named(pods(api, spawners={"notebooks": {"prefix": ""}})) == "ann"
    api.pods["notebooks/jupyter-ann"] = PodMarks("uid-1", {"user": "bob"}, {})
    assert await named(pods(api, spawners={"notebooks": {"label": "user", "prefix": "hub-"}})) == "hub-bob"


async def named(one: Pods) -> str:
    identity = await one.check_token(token())
    assert identity is not None
    return identity.name


@pytest.mark.parametrize(
    ("marks", "spawner", "error", "says"),
    [
        (None, {}, BadCredentials, "is gone"),
        (PodMarks("uid-2", {}, {"hub.jupyter.org/username": "bob"}), {}, BadCredentials, "is gone"),
        (PodMarks("uid-1", {"hub.jupyter.org/username": "bob"}, {}), {}, BadCredentials, "has no annotation hub"),
        (PodMarks("uid-1", {}, {"user": "bob"}), {"label": "user"}, BadCredentials, "has no label user"),
        (
            PodMarks("uid-1", {}, {"hub.jupyter.org/username": "other:admin"}),
            {"prefix": ""},
            PermissionDenied,
            "because of the colon",
        ),
    ],
)
async def test_a_pod_without_a_users_name_of_its_spawner_is_nobody(
    api: FakeApi, marks: PodMarks | None, spawner: dict[str, str], error: type[HeadraceError], says: str
) -> None:
    if marks is not None:
        api.pods["notebooks/jupyter-ann"] = marks
    with pytest.raises(error, match=says):
        await pods(api, spawners={"notebooks": spawner}).check_token(token())


async def test_a_pod_that_logs_in_without_end_makes_no_other_wait(api: FakeApi) -> None:
    one = pods(api)
    api.answering.clear()
    busy = [asyncio.ensure_future(one.check_token(token(account=f"a{n}"))) for n in range(PLACES_OF_POD)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="wait for the Kubernetes API server"):
        await one.check_token(token(account="more"))
    other = asyncio.ensure_future(one.check_token(token(pod="jupyter-bob")))
    await asyncio.sleep(0)
    api.answering.set()
    assert await other is not None
    assert all(await asyncio.gather(*busy))


async def test_logins_that_wait_are_bounded_in_all(api: FakeApi) -> None:
    one = pods(api)
    api.answering.clear()
    busy = [asyncio.ensure_future(one.check_token(token(pod=f"p{n}"))) for n in range(PLACES)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await one.check_token(token(pod="one-more"))
    api.answering.set()
    await asyncio.gather(*busy)


@pytest.mark.parametrize(
    "content",
    [
        {"sub": "system:serviceaccount:"},
        {"sub": "system:serviceaccount:only"},
        {"sub": "system:serviceaccount::x"},
        {"sub": "system:node:node-1"},
        {},
    ],
)
def test_claims_of_others_are_none(content: dict[str, object]) -> None:
    assert read_claims(jwt.encode(content, KEY, "HS256")) is None


def test_a_token_that_is_nested_without_end_is_none() -> None:
    content = urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    assert read_claims(f"e30.{content}.e30") is None


@pytest.mark.parametrize("bound", [None, [], "x", {"pod": None}, {"pod": []}, {"pod": {"name": 7}}])
def test_odd_claims_are_no_pod(bound: object) -> None:
    content = {"sub": "system:serviceaccount:n:a", "kubernetes.io": bound, "aud": [1, "x"], "exp": 1e300}
    assert read_claims(jwt.encode(content, KEY, "HS256")) == Claims("n", "a", "", frozenset({"x"}), None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"namespaces": ["Not_OK"]}, "namespaces"),
        ({"spawners": {"hub": {"annotation": "a", "label": "b"}}}, "annotation or label, not both"),
        ({"spawners": {"hub": {"prefix": "a:"}}}, "prefix"),
        ({"audience": ""}, "audience"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(settings)


def test_outside_of_kubernetes_it_says_what_is_missing() -> None:
    with pytest.raises(GatewayServerError, match="Run auth in a pod with a service account token, or set kubeconfig"):
        create(Settings(), AsyncExitStack())


def test_it_is_installed() -> None:
    assert isinstance(read_settings({"kubernetes": {"namespaces": ["*"]}})["kubernetes"], Settings)
