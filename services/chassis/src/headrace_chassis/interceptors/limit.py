"""Limit: how often one user, cluster or source calls, its open streams, and its costly calls that run at once.

Each replica counts for itself, in memory. What is unused for a while takes none.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from headrace.errors import TooManyRequests
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import caller_name
from headrace_chassis.identity.source import source_of
from headrace_chassis.interceptors.call import Call, Method, Serve
from headrace_chassis.settings import CallSettings, Network

_LOGIN = "AuthService.Login"
# Methods that only read are named like this; all others change something, sign a certificate or a token, or wait.
_READS = ("Get", "List", "WhoAmI", "Check")
_REPORTS = {"ListUsage", "ListBudgets"}
"""Reads that may take seconds, or long in Redis, and much memory: one of each user at a time, and some together."""
_REPORTS_AT_ONCE = 4
_STREAM_RETRY_SECONDS = 1.0
_MIN_SWEEP = 1024
_ROUNDING_SECONDS = 1e-6


class Buckets:
    """Token buckets by caller. A bucket that is full again is not kept: it is the same as a new one."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._seconds = 1 / per_second  # that one token takes
        self._deep = burst / per_second + _ROUNDING_SECONDS  # seconds in which an empty bucket is full
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._sweep_at = _MIN_SWEEP

    def take(self, caller: str) -> float:
        """Take a token; return the seconds after which there is one, or 0 if it was taken."""
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + self._seconds
        if (wait := full_at - now - self._deep) > 0:
            return wait
        self._full_at[caller] = full_at
        if len(self._full_at) > self._sweep_at:
            self._sweep(now)
        return 0.0

    def _sweep(self, now: float) -> None:
        self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}
        self._sweep_at = max(_MIN_SWEEP, 2 * len(self._full_at))

    def __len__(self) -> int:
        return len(self._full_at)


class Turns:
    """Bounds the calls that run at once, of each caller and of all. The others wait in the order in which they came.

    A turn of the event loop, in which gRPC accepts one call, takes as long as everything that is ready together. What
    waits here is not ready.
    """

    def __init__(self, of_caller: int, together: int) -> None:
        self._of_caller = of_caller
        self._together = asyncio.Semaphore(together)
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # of those who call now

    async def run(self, caller: str, serve: Serve, call: Call) -> Any:
        """Serve a call when it is its turn."""
        if (own := self._own.get(caller)) is None:
            own = self._own[caller] = asyncio.Semaphore(self._of_caller)
        async with own, self._together:
            return await serve(call)


class Limits:
    """The limits of one service."""

    def __init__(self, settings: CallSettings, proxies: tuple[Network, ...] | list[Network]) -> None:
        self._settings = settings
        self._proxies = proxies
        self._reads = Buckets(settings.reads_per_second, settings.reads_burst)
        self._changes = Buckets(settings.changes_per_second, settings.changes_burst)
        self._logins = Buckets(settings.logins_per_second, settings.logins_burst)
        self._agents = Buckets(settings.agents_per_second, settings.agents_burst)
        at_once = settings.changes_at_once_per_user, settings.changes_at_once
        # Agents have turns of their own: those of one user's many clusters do not make other users wait.
        self._turns, self._agent_turns = Turns(*at_once), Turns(*at_once)
        self._report_turns = Turns(1, _REPORTS_AT_ONCE)
        self._streams = Counter[str]()

    def limit(self, method: Method, serve: Serve) -> Serve:
        """Innermost: knows the caller, and what waits is still within its deadline."""
        match method.right:
            case None | Right.SERVICE:
                return serve
            case Right.AGENT:
                buckets, streams = self._agents, self._settings.streams_per_cluster
            case Right.ANYONE if method.name == _LOGIN:
                buckets, streams = self._logins, self._settings.streams_per_user
            case _:
                buckets, streams = self._changes, self._settings.streams_per_user
        if method.is_stream:
            return self._stream(method, serve, buckets, streams)
        if (name := method.name.rpartition(".")[2]) in _REPORTS:
            return self._rated(method, self._in_turn(serve, self._report_turns), buckets)
        if name.startswith(_READS):
            return self._rated(method, serve, self._reads)
        if method.right is Right.ANYONE:
            return self._rated(method, serve, buckets)  # nobody waits for strangers
        turns = self._agent_turns if method.right is Right.AGENT else self._turns
        return self._rated(method, self._in_turn(serve, turns), buckets)

    def _rated(self, method: Method, serve: Serve, buckets: Buckets) -> Serve:
        def rated(call: Call) -> Awaitable[Any]:
            self._take(method, buckets, self._caller(call))
            return serve(call)

        return rated

    def _in_turn(self, serve: Serve, turns: Turns) -> Serve:
        def in_turn(call: Call) -> Awaitable[Any]:
            return turns.run(self._caller(call), serve, call)

        return in_turn

    def _stream(self, method: Method, serve: Serve, buckets: Buckets, maximum: int) -> Serve:
        async def counted(call: Call) -> Any:
            caller = self._caller(call)
            self._take(method, buckets, caller)
            if self._streams[caller] >= maximum:
                raise TooManyRequests.of(
                    f"{caller} has {maximum} open streams of this service, which is the maximum: close some",
                    _STREAM_RETRY_SECONDS,
                )
            self._streams[caller] += 1
            try:
                return await serve(call)
            finally:
                self._streams[caller] -= 1
                if not self._streams[caller]:
                    del self._streams[caller]

        return counted

    def _take(self, method: Method, buckets: Buckets, caller: str) -> None:
        if wait := buckets.take(caller):
            rate = f"{buckets.per_second:g} a second"
            raise TooManyRequests.of(f"{caller} calls {method.name} and its like too often, more than {rate}", wait)

    def _caller(self, call: Call) -> str:
        return caller_name() or source_of(call.context.peer(), call.metadata, self._proxies)
