"""Pages of a list: a token says where to go on, and carries a hash of the request that it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib

from google.protobuf.message import Message

from headrace.errors import InvalidRequest, Violation

_DIGEST_BYTES = 8
DEFAULT_SIZE, MAX_SIZE = 100, 1000


def page_size(asked: int) -> int:
    """How many to send, of 0 to 1000."""
    if not 0 <= asked <= MAX_SIZE:
        raise InvalidRequest.of(Violation("page_size", f"must be 0 to {MAX_SIZE}, is {asked}"))
    return asked or DEFAULT_SIZE


def make_token(request: Message, cursor: str, *, caller: str) -> str:
    """The token of the page that goes on after `cursor`."""
    return base64.urlsafe_b64encode(_digest(request, caller, cursor) + cursor.encode()).decode().rstrip("=")


def read_token(request: Message, token: str, *, caller: str) -> str:
    """The cursor in a token, or "" without one."""
    if not token:
        return ""
    try:
        content = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        cursor = content[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest.of(Violation("page_token", "is not a token of this service")) from None
    if content[:_DIGEST_BYTES] != _digest(request, caller, cursor):
        raise InvalidRequest.of(Violation("page_token", "belongs to another request; repeat the same one"))
    return cursor


def _digest(request: Message, caller: str, cursor: str) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_token")
    same.ClearField("page_size")
    content = same.SerializeToString(deterministic=True)
    of = f"{len(caller)}:{caller}{cursor}".encode()
    return hashlib.blake2b(of + content, digest_size=_DIGEST_BYTES).digest()
