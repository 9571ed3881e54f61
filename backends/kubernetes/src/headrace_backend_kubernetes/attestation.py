"""Which pod sent a token of its service account, and so which process it is.

A pod's token is mounted into it by the kubelet, names the pod in its claims and is good for our audience only. Anybody
can write such claims, so they say no more than which pod to ask about: only what the API server confirms is believed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, TypeAlias

import msgspec
from cachetools import TTLCache

from headrace.errors import TokenExpired, TokenInvalid, TooManyRequests
from headrace_chassis.interceptors.limit import Buckets
from headrace_controller.backends.base import Attestation, BackendError

_CACHED = 20_000
_CACHED_SECONDS = 60.0
# A pod enrols once and may repeat that. Others who use up its turns must know its uid, which few do while it starts.
_REVIEWS_PER_SECOND, _REVIEWS_BURST = 0.2, 5
_REVIEWS_AT_ONCE = 32
_REVIEWS_WAITING = 1000
_RETRY_SECONDS = 1.0
_SEEN_SECONDS = 60.0  # a pod that starts sooner is not waited for until the watch shows that it runs


class KnownPod(Protocol):
    """A pod of this deployment, as the watch has it."""

    @property
    def uid(self) -> str: ...
    @property
    def cluster(self) -> str:
        """Empty while it is in standby, as is `process`."""
        ...

    @property
    def process(self) -> str: ...
    @property
    def launched(self) -> float:
        """Time at which it was created, or given to its cluster."""
        ...

    @property
    def began(self) -> float:
        """Time at which its process was started; 0 while that is not known."""
        ...

    @property
    def ended(self) -> bool: ...


FindPod: TypeAlias = "Callable[[str, str], KnownPod | None]"
"""Returns the pod of a namespace and a name, if it is one of this deployment."""


@dataclass(frozen=True, slots=True)
class BoundPod:
    """The pod that a token is bound to."""

    namespace: str
    name: str
    uid: str


Review: TypeAlias = "Callable[[str], Awaitable[BoundPod | None]]"
"""Asks the API server whose token it is; None if it is not good for our audience. Raises `BackendError`."""


class PodAttestation:
    """Verifies tokens of pods. What is refused without a request costs next to nothing; requests are bounded.

    Parameters
    ----------
    review
        Asks the API server.
    find
        Looks up a pod in the watch.
    audience
        Audience of the tokens, which is this deployment's own.
    """

    def __init__(self, review: Review, find: FindPod, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        self._review = review
        self._find = find
        self._audience = audience
        self._clock = clock
        self._answers: TTLCache[bytes, BoundPod | None] = TTLCache(_CACHED, _CACHED_SECONDS, time.monotonic)
        self._of_pod = Buckets(_REVIEWS_PER_SECOND, _REVIEWS_BURST)
        self._turns = asyncio.Semaphore(_REVIEWS_AT_ONCE)
        self._waiting = 0

    async def attest(self, token: str) -> Attestation:
        """Returns whose token it is; raises `TokenInvalid`, `TokenExpired`, `TooManyRequests` or `BackendError`."""
        claimed = self._read(token)
        self._known(claimed)
        if await self._confirmed(token, claimed) != claimed:
            raise TokenInvalid("the API server does not confirm the pod's token: it is forged, or its pod is gone")
        pod = self._known(claimed)  # it may have ended meanwhile
        if not pod.began and pod.launched < self._clock() - _SEEN_SECONDS:
            raise BackendError(f"pod {_short(claimed.name)} has waited long, and is not known to run yet")
        # It may have waited for its node for hours, in which nobody had its token.
        launched = max(pod.launched, pod.began)
        return Attestation(cluster=pod.cluster, process=pod.process, launch=pod.uid, launched=launched)

    def _read(self, token: str) -> BoundPod:
        claims = _claims(token)
        if self._audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            raise TokenInvalid(f"the pod's token is for another audience than {self._audience!r}")
        if claims.exp <= self._clock():
            raise TokenExpired("the pod's token has expired: its file has a newer one")
        return BoundPod(claims.bound.namespace, claims.bound.pod.name, claims.bound.pod.uid)

    def _known(self, claimed: BoundPod) -> KnownPod:
        found = self._find(claimed.namespace, claimed.name)
        if found is None:
            raise BackendError(f"no pod {_short(claimed.name)} of this deployment is known yet")
        if found.uid != claimed.uid:
            raise TokenInvalid(f"the token is of an earlier pod {_short(claimed.name)}, which is gone")
        if found.ended:
            raise TokenInvalid(f"the token is of pod {_short(claimed.name)}, which has ended")
        return found

    async def _confirmed(self, token: str, claimed: BoundPod) -> BoundPod | None:
        key = sha256(token.encode()).digest()
        if key not in self._answers:
            if wait := self._of_pod.take(claimed.uid):
                raise TooManyRequests.of(f"pod {_short(claimed.name)} has sent too many different tokens", wait)
            self._answers[key] = await self._ask(token)
        return self._answers.get(key)

    async def _ask(self, token: str) -> BoundPod | None:
        if self._waiting >= _REVIEWS_WAITING:
            raise TooManyRequests.of("too many pods' tokens wait for the API server", _RETRY_SECONDS)
        self._waiting += 1
        try:
            async with self._turns:
                return await self._review(token)
        finally:
            self._waiting -= 1


class _Pod(msgspec.Struct):
    name: str
    uid: str


class _Bound(msgspec.Struct):
    namespace: str
    pod: _Pod


class _Claims(msgspec.Struct):
    aud: str | list[str]
    exp: float
    bound: _Bound = msgspec.field(name="kubernetes.io")


def _claims(token: str) -> _Claims:
    try:
        text = token.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Claims)
    except (binascii.Error, IndexError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise TokenInvalid("the agent's token is none of a pod") from None


def _short(name: str) -> str:
    return repr(name[:80])
