"""Pages of a list. A page token is bound to its method, its request without the page fields, and its caller."""

from __future__ import annotations

import base64
import binascii
import hashlib

from google.protobuf.message import Message

from headrace.errors import InvalidRequest, Violation

DEFAULT_SIZE, MAX_SIZE = 100, 1000
_DIGEST_BYTES = 8


def page_size(asked: int) -> int:
    """Return the number of results to send; 0 asks for the default."""
    if not 0 <= asked <= MAX_SIZE:
        raise InvalidRequest.of(Violation("page_size", f"must be 0 to {MAX_SIZE}, is {asked}"))
    return asked or DEFAULT_SIZE


def make_token(request: Message, cursor: str, *, caller: str) -> str:
    """Return the token of the page that continues after `cursor`."""
    return base64.urlsafe_b64encode(_digest(request, caller, cursor) + cursor.encode()).decode().rstrip("=")


def read_token(request: Message, token: str, *, caller: str) -> str:
    """Return the cursor of a token, or "" without a token."""
    if not token:
        return ""
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        cursor = content[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest.of(Violation("page_token", "is not a page token of this service")) from None
    if content[:_DIGEST_BYTES] != _digest(request, caller, cursor):
        raise InvalidRequest.of(Violation("page_token", "belongs to another request: repeat the one that returned it"))
    return cursor


def _digest(request: Message, caller: str, cursor: str) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_token")
    same.ClearField("page_size")
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    # One request message belongs to one method.
    for part in (request.DESCRIPTOR.full_name, caller, cursor):
        digest.update(f"{len(part)}:{part}".encode())
    digest.update(same.SerializeToString(deterministic=True))
    return digest.digest()
