"""Reads credentials in the threads of ext_authz: signed ones at once; what must be looked up, within bounds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from headrace.errors import StoreUnavailable
from headrace_auth.authenticators.api_token import SECRET_PREFIX
from headrace_auth.signed import DashboardGrant, Signer, UnknownKey
from headrace_chassis.identity.caller import Caller

T = TypeVar("T")

LOOKUP_SECONDS = 2.0
# More than so many waiting are turned away at once, so that the store being slow never fills all threads.
LOOKUPS_AT_ONCE = 4
REMEMBERED_SECONDS = 30.0
MOST_REMEMBERED = 1000


@dataclass
class CredentialReader:
    """Reads what a request for a dashboard comes with.

    Attributes
    ----------
    loop
        Event loop in which the coroutines run.
    check_api_token
        Looks an API token up in the store.
    refresh_keys
        Reads keys that another replica may have made.
    """

    signer: Signer
    loop: asyncio.AbstractEventLoop
    check_api_token: Callable[[str], Coroutine[object, object, Caller]]
    refresh_keys: Callable[[], Coroutine[object, object, None]]
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(LOOKUPS_AT_ONCE), init=False)
    _known: dict[str, tuple[Caller, float]] = field(default_factory=dict[str, tuple[Caller, float]], init=False)

    def dashboard_token(self, token: str, audience: str) -> DashboardGrant:
        """Reads a link or a session."""
        return self._with_keys(lambda: self.signer.read_dashboard_token(token, audience))

    def bearer(self, token: str) -> Caller:
        """Reads an access token or an API token."""
        if not token.startswith(SECRET_PREFIX):
            return self._with_keys(lambda: self.signer.read_access_token(token))
        known = self._known.get(token)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        caller = self._wait(lambda: self.check_api_token(token))
        if len(self._known) >= MOST_REMEMBERED:
            self._known = {}
        self._known[token] = (caller, time.monotonic() + REMEMBERED_SECONDS)
        return caller

    def _with_keys(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except UnknownKey:
            self._wait(self.refresh_keys)
            return read()

    def _wait(self, look: Callable[[], Coroutine[object, object, T]]) -> T:
        if not self._places.acquire(blocking=False):
            raise StoreUnavailable("too many tokens are being looked up; try again in a moment")
        try:
            return asyncio.run_coroutine_threadsafe(look(), self.loop).result(LOOKUP_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the token could not be looked up in time; try again in a moment") from None
        finally:
            self._places.release()
