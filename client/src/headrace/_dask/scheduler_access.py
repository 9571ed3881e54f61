"""Access to the scheduler of one cluster: mutual TLS with renewed certificates, and the two ways to it."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from distributed.comm.core import Comm

from headrace._resumable.absences import Absences
from headrace._resumable.records import ALPN
from headrace._target import config
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.errors import (
    ClusterEnded,
    ClusterNotFound,
    GatewayServerError,
    HeadraceError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Violation,
)
from headrace.stopwatch import Stopwatch
from headrace.v1 import cluster_service_pb2

_RETRY_DIRECT_SECONDS = 60.0
_CHECK_SECONDS = 1.0
# A proxy restarts in less.
_DOUBT_SECONDS = 0.5
# While there is a certificate that serves, a renewal must not hold up a connection for longer, nor more often.
_ASK_SECONDS = 1.5
_MODES = ("auto", "direct", "proxied")
_RETRY_SECONDS = 10.0

NOTHING_THERE = (ClusterEnded, NotFound, PermissionDenied)
"""There is nothing to connect to any more, or not for this user."""


class ClusterContext(ssl.SSLContext):
    """A TLS context with the access that it belongs to; the `gateway://` comm reads the addresses from it."""

    access: SchedulerAccess


class SchedulerAccess:
    """Certificate and addresses of one cluster's scheduler, fetched when first needed and before they expire.

    Parameters
    ----------
    connect
        Returns the connection to fetch them with; called on `loop`. None: they cannot be fetched, see `use`.
    loop
        Event loop of that connection.
    cluster
        Id of the cluster. It may be set later, before the first use.
    given_up
        Called on `loop` with the reason, each time that a connection is wanted and there is nothing to connect to.
    mode
        How to connect if ``headrace.connect`` is auto: auto, direct or proxied.
    """

    def __init__(
        self,
        connect: Callable[[], Connection] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        cluster: str = "",
        given_up: Callable[[HeadraceError], None] = lambda _: None,
        mode: str = "",
    ) -> None:
        self.cluster = cluster
        self.mode = _connect_mode(mode)
        self.server_name = ""
        self.direct_address = ""
        self.has_proxy = True
        self.facts: cluster_service_pb2.ConnectClusterResponse | None = None
        self.absences = Absences(lambda: self.cluster, _session_grace())
        self.context = self._make_context()
        self.resumable_context = self._make_context()
        self.resumable_context.set_alpn_protocols([ALPN])
        self._connect = connect
        self._loop = loop
        self._given_up = given_up
        self._lock = asyncio.Lock()
        # Ages of the certificate, since it was fetched.
        self._age = Stopwatch()
        self._asked_age = 0.0
        self._renewal_age = 0.0
        self._expiry_age = 0.0
        self._no_direct_until = 0.0
        self._failing: Stopwatch | None = None
        self._opened: weakref.ref[Comm] | None = None

    async def ready(self) -> None:
        """Make sure that the certificate is valid for a while. May be called on any event loop.

        Raises
        ------
        Unauthenticated
            The certificate has expired, and this process cannot fetch another one.
        HeadraceError
            Another one cannot be fetched now.
        """
        if not self._is_due():
            return
        if self._loop is None:
            self._check_valid()
        elif asyncio.get_running_loop() is self._loop:
            await self._renew()
        elif self._loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._renew(), self._loop))

    async def check(self) -> None:
        """Make `ready`, and ask headrace, at most once a second, whether the cluster still exists.

        Raises
        ------
        ClusterEnded, NotFound, PermissionDenied
            There is nothing to connect to any more.
        """
        self.doubt()
        await self.ready()

    def doubt(self) -> None:
        """Let the next `ready` ask headrace, at most once a second, whether there is something to connect to."""
        self._renewal_age = min(self._renewal_age, self._asked_age + _CHECK_SECONDS)

    def opened(self, comm: Comm) -> None:
        """Note an ordinary connection, which says nothing when it ends."""
        self._opened = weakref.ref(comm)

    def doubt_closed(self) -> None:
        """Make `doubt` if the last ordinary connection is closed: the scheduler may have refused it."""
        if self._opened is not None and ((comm := self._opened()) is None or comm.closed()):
            self.doubt()

    def give_up(self, reason: HeadraceError) -> None:
        """Note that there is nothing to connect to."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._given_up, reason)

    async def failed(self) -> None:
        """Note that a connection could not be made; if that goes on for a moment, `check`."""
        self._failing = self._failing or Stopwatch()
        if self._failing.seconds() > _DOUBT_SECONDS:
            await self.check()

    def succeeded(self) -> None:
        """Note that a connection was made."""
        self._failing = None

    def ready_facts(self) -> cluster_service_pb2.ConnectClusterResponse:
        """Return certificate and addresses, made `ready` in a thread that waits."""
        if self.facts is None or self._is_due():
            if self._loop is not None and self._loop is _running_loop():
                # The loop waits here: another one fetches them.
                with ThreadPoolExecutor(1) as pool:
                    self.use(pool.submit(asyncio.run, self._fetch_alone()).result())
            elif self._loop is not None and self._loop.is_running():
                asyncio.run_coroutine_threadsafe(self.ready(), self._loop).result()
        if self.facts is None:
            raise GatewayServerError(f"the Gateway of cluster {self.cluster} is closed; make a new one")
        return self.facts

    async def fetch(self) -> None:
        """Fetch a new certificate and the addresses (ConnectCluster)."""
        assert self._connect is not None
        connection = self._connect()
        self.has_proxy = connection.target.has_proxy
        try:
            self.use(await calls.connect(connection, self.cluster))
        except NotFound as error:
            if self.facts is None:
                raise
            text = f"cluster {self.cluster} is no longer shared with you, or its record was deleted"
            raise ClusterNotFound(text, error.details) from None

    def use(self, facts: cluster_service_pb2.ConnectClusterResponse) -> None:
        """Use this certificate and these addresses."""
        for context in (self.context, self.resumable_context):
            if self.facts is None or self.facts.ca_pem != facts.ca_pem:
                context.load_verify_locations(cadata=facts.ca_pem)
            with as_file(facts.certificate_pem + facts.private_key_pem) as path:
                context.load_cert_chain(path)
        self.facts, self.server_name, self.direct_address = facts, facts.server_name, facts.direct_address
        self._age, self._asked_age = Stopwatch(), 0.0
        self._expiry_age = facts.expire_time.ToMilliseconds() / 1000 - time.time()
        # The clock of this machine may be wrong: a fresh certificate serves for a moment in any case.
        self._renewal_age = max(self._expiry_age * 0.75, _CHECK_SECONDS)

    def direct(self) -> str:
        """Return the address for a direct connection, or "" if a direct connection is not to be tried now."""
        if self.mode == "proxied" or (self.mode == "auto" and time.monotonic() < self._no_direct_until):
            return ""
        return self.direct_address

    def direct_failed(self) -> None:
        """Use the proxy for a while: the direct connection did not work."""
        self._no_direct_until = time.monotonic() + _RETRY_DIRECT_SECONDS

    def _check_valid(self) -> None:
        if self._has_expired():
            raise Unauthenticated(
                f"the certificate for cluster {self.cluster} has expired, and this process got it from another one: "
                "pass the cluster's security again, or connect with a Gateway of this process"
            )

    async def _fetch_alone(self) -> cluster_service_pb2.ConnectClusterResponse:
        assert self._connect is not None
        connection = Connection(self._connect().target)
        try:
            return await calls.connect(connection, self.cluster)
        finally:
            await connection.close()

    def _is_due(self) -> bool:
        return self._age.seconds() >= self._renewal_age

    def _has_expired(self) -> bool:
        return self._age.seconds() >= self._expiry_age

    async def _renew(self) -> None:
        async with self._lock:
            if not self._is_due():
                return
            if self._has_expired():
                await self.fetch()
                return
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    await self.fetch()
            except NOTHING_THERE:
                raise
            except (HeadraceError, TimeoutError):
                # While headrace is away, the old certificate serves until it expires.
                self._asked_age = self._age.seconds()
                self._renewal_age = min(self._asked_age + _RETRY_SECONDS, self._expiry_age)

    def _make_context(self) -> ClusterContext:
        context = ClusterContext(ssl.PROTOCOL_TLS_CLIENT)
        context.access = self
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The cluster has an authority of its own: a certificate that it signed is of this cluster, at any address.
        context.check_hostname = False
        return context


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _session_grace() -> int:
    return int(config.get_seconds("session-grace"))


def _connect_mode(offered: str) -> str:
    mode = config.get_text("connect")
    if mode not in _MODES:
        raise InvalidRequest.of(Violation("headrace.connect", f"is {mode!r} and must be auto, direct or proxied"))
    return offered if mode == "auto" and offered in _MODES else mode


@contextmanager
def as_file(text: str) -> Generator[str, None, None]:
    """Yield the name of a file with this text, in memory where possible: OpenSSL reads private keys from files only."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("headrace")
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "client.pem"
        path.touch(mode=0o600)
        path.write_text(text)
        yield str(path)
