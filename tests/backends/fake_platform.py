"""A platform that issues tokens to its processes, and a backend that verifies them."""

from __future__ import annotations

import time
from secrets import token_hex

from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace.errors import TokenInvalid
from headrace_controller.backends.base import Attestation, BackendError


class FakePlatform:
    """The tokens that it has issued. One of them may be withdrawn, and the platform may be away."""

    def __init__(self) -> None:
        self.issued: dict[str, Attestation] = {}
        self.away = False
        self.asked: list[str] = []

    def issue(self, cluster: str, process: str, *, launch: str = "", launched: float | None = None) -> str:
        token = f"header.{token_hex(8)}.signature"
        when = time.time() if launched is None else launched
        self.issued[token] = Attestation(cluster=cluster, process=process, launch=launch or token_hex(8), launched=when)
        return token

    def attest(self, token: str) -> Attestation:
        self.asked.append(token)
        if self.away:
            raise BackendError("the platform is away")
        if (found := self.issued.get(token)) is None:
            raise TokenInvalid("the platform did not issue the token")
        return found


class AttestingBackend(FakeBackend):
    """A fake backend on a platform."""

    def __init__(self, machine: FakeMachine, platform: FakePlatform) -> None:
        super().__init__(machine)
        self._platform = platform

    async def attest(self, token: str) -> Attestation:
        return self._platform.attest(token)
