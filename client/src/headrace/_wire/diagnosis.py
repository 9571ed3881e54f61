"""Which hop on the way to headrace fails, for error messages and `headrace doctor`."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from headrace._target.target import Target
from headrace._wire.http1 import client_context

_HOP_SECONDS = 3.0
_SOON_DAYS = 7


@dataclass(frozen=True, slots=True)
class Hop:
    """A step of the way: its name, whether it works, and a sentence for people.

    `checked` is false for one that could not be checked, but is not needed either.
    """

    name: str
    works: bool
    message: str
    checked: bool = True


async def hops(target: Target) -> AsyncIterator[Hop]:
    """Check name, TCP, TLS and HTTP/2, one after the other; end with the first step that fails."""
    for step in _walk(target):
        try:
            async with asyncio.timeout(_HOP_SECONDS):
                hop = await step(target)
        except TimeoutError:
            name = _NAMES[step]
            what = target.endpoint if target.http_proxy is None else f"{target.http_proxy}"
            hop = Hop(name, works=False, message=f"{what} does not answer within {_HOP_SECONDS:.0f} s")
        yield hop
        if not hop.works:
            return


def _walk(target: Target) -> list[_Step]:
    if target.http_proxy is not None:
        return [_connect_through_proxy]
    return [_resolve, _connect, _shake_hands] if target.tls else [_resolve, _connect]


async def first_failure(target: Target) -> Hop | None:
    """Return the first step that fails, or None if all work."""
    async for hop in hops(target):
        if not hop.works:
            return hop
    return None


async def _resolve(target: Target) -> Hop:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        return Hop("name", works=False, message=f"the host name {target.host!r} is not known ({error})")
    return Hop("name", works=True, message=f"{target.host} is {found[0][4][0]}")


async def _connect(target: Target) -> Hop:
    try:
        _, writer = await asyncio.open_connection(target.host, target.port)
    except OSError as error:
        return Hop("connection", works=False, message=_explain_refusal(target, error))
    writer.transport.abort()
    return Hop("connection", works=True, message=f"{target.endpoint} accepts connections")


async def _connect_through_proxy(target: Target) -> Hop:
    proxy = target.http_proxy
    assert proxy is not None
    way = f"the way to {target.endpoint} leads through {proxy}, which"
    advice = f"set headrace.http-proxy to false, or no_proxy to {target.host}, if no proxy is needed"
    try:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    except OSError as error:
        return Hop("proxy", works=False, message=f"{way} cannot be reached ({_brief(error)}); {advice}")
    try:
        writer.write(f"CONNECT {target.endpoint} HTTP/1.1\r\nHost: {target.endpoint}\r\n{proxy.login}\r\n".encode())
        answer = (await reader.readline()).decode("latin-1").strip()
    except (OSError, ValueError) as error:
        answer = _brief(error)
    finally:
        writer.transport.abort()
    if answer.partition(" ")[2].startswith("2"):
        return Hop("proxy", works=True, message=f"{proxy} connects to {target.endpoint}")
    return Hop("proxy", works=False, message=f"{way} refuses to connect there ({answer[:80]!r}); {advice}")


def _explain_refusal(target: Target, error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED or "refused" in str(error).lower():
        if target.local is not None and not target.local.running:
            return (
                f"nothing listens at {target.endpoint}: the `headrace up` that wrote this address "
                f"(process {target.local.pid}) has ended; start it again"
            )
        return f"nothing listens at {target.endpoint} (connection refused)"
    return f"{target.endpoint} cannot be reached ({error.strerror or error})"


async def _shake_hands(target: Target) -> Hop:
    context = _context(target)
    try:
        _, writer = await asyncio.open_connection(
            target.host, target.port, ssl=context, server_hostname=target.host, ssl_handshake_timeout=_HOP_SECONDS
        )
    except ssl.SSLCertVerificationError as error:
        return Hop("TLS", works=False, message=await _explain_certificate(target, error))
    except (ssl.SSLError, OSError) as error:
        return Hop("TLS", works=False, message=f"{target.endpoint} does not speak TLS ({_brief(error)})")
    chosen, certificate = _negotiated(writer)
    writer.transport.abort()
    if chosen != "h2" and not target.path:
        return Hop("TLS", works=False, message=f"{target.endpoint} does not speak HTTP/2, so it is not headrace")
    return Hop("TLS", works=True, message=f"the certificate of {target.endpoint} is trusted{certificate}")


def _negotiated(writer: asyncio.StreamWriter) -> tuple[str | None, str]:
    """Return the protocol, and until when the certificate is valid."""
    connection = writer.get_extra_info("ssl_object")
    end = connection.getpeercert().get("notAfter")
    if not end:
        return connection.selected_alpn_protocol(), ""
    days = (ssl.cert_time_to_seconds(end) - time.time()) / 86400
    soon = "; renew it, or find out why it is not renewed" if days < _SOON_DAYS else ""
    return connection.selected_alpn_protocol(), f", and valid until {end} ({days:.0f} days){soon}"


async def _explain_certificate(target: Target, error: ssl.SSLCertVerificationError) -> str:
    description = await _describe_certificate(target)
    about = f" It is {description}." if description else ""
    return (
        f"the certificate of {target.endpoint} is not accepted: {error.verify_message} (expected: one for "
        f"{target.host} from {target.trusts}).{about} Set headrace.tls.ca-file to the PEM file of its authority"
    )


async def _describe_certificate(target: Target) -> str:
    """Describe the certificate of the server: its names and who signed it."""
    try:
        address = (target.host, target.port)
        pem = await asyncio.to_thread(ssl.get_server_certificate, address, timeout=_HOP_SECONDS)
        # Python parses trusted certificates only: trust exactly this one, to read it and for nothing else.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=pem)
        _, writer = await asyncio.open_connection(target.host, target.port, ssl=context, server_hostname=target.host)
    except (OSError, ValueError):
        return ""
    facts = writer.get_extra_info("ssl_object").getpeercert()
    writer.transport.abort()
    names = ", ".join(value for _, value in facts.get("subjectAltName", ())) or _common_name(facts.get("subject", ()))
    return f"for {names}, from {_common_name(facts.get('issuer', ()))}, valid until {facts.get('notAfter', '?')}"


def _common_name(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    parts = dict(part[0] for part in name)
    return parts.get("commonName") or parts.get("organizationName") or "an unnamed authority"


def _context(target: Target) -> ssl.SSLContext:
    context = client_context(target)
    context.set_alpn_protocols(["http/1.1" if target.path else "h2"])
    return context


def _brief(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__


_Step = Callable[[Target], Coroutine[Any, Any, Hop]]
_NAMES: dict[_Step, str] = {
    _resolve: "name",
    _connect: "connection",
    _connect_through_proxy: "proxy",
    _shake_hands: "TLS",
}
