"""The one table of our errors and gRPC's statuses, used in both directions.

A status is sent as `google.rpc.Status` in the trailing metadata `grpc-status-details-bin`, with an `ErrorInfo` (domain
"headrace", reason, details) and, where it applies, a `BadRequest`, a `QuotaFailure` or a `RetryInfo`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from headrace import errors

DOMAIN = "headrace"
DETAILS_KEY = "grpc-status-details-bin"

# A status is sent as two headers. Each proxy has a bound for headers, and may end the whole connection that
# exceeds them. Together they stay below 8 KiB, with the growth by their encodings.
_MESSAGE_SIZE, _FACTS_SIZE, _VIOLATIONS_SIZE, _TEXT_SIZE = 1500, 1000, 1500, 250
# What gRPC writes into a header as it is; of anything else each byte becomes three.
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

_C = grpc.StatusCode

# Class -> (code, reason). The reasons are those of headrace.v1.ErrorReason, and those between our own parts.
TABLE: dict[type[errors.HeadraceError], tuple[grpc.StatusCode, str]] = {
    errors.InvalidRequest: (_C.INVALID_ARGUMENT, "INVALID_FIELD"),
    errors.BadCredentials: (_C.UNAUTHENTICATED, "BAD_CREDENTIALS"),
    errors.TokenInvalid: (_C.UNAUTHENTICATED, "TOKEN_INVALID"),
    errors.TokenExpired: (_C.UNAUTHENTICATED, "TOKEN_EXPIRED"),
    errors.TokenRevoked: (_C.UNAUTHENTICATED, "TOKEN_REVOKED"),
    errors.PermissionDenied: (_C.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.ClusterNotFound: (_C.NOT_FOUND, "CLUSTER_NOT_FOUND"),
    errors.GroupNotFound: (_C.NOT_FOUND, "GROUP_NOT_FOUND"),
    errors.WorkerNotFound: (_C.NOT_FOUND, "WORKER_NOT_FOUND"),
    errors.ApiTokenNotFound: (_C.NOT_FOUND, "API_TOKEN_NOT_FOUND"),
    errors.AliasTaken: (_C.ALREADY_EXISTS, "ALIAS_TAKEN"),
    errors.QuotaExceeded: (_C.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
    errors.TooManyRequests: (_C.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS"),
    errors.ClusterEnded: (_C.FAILED_PRECONDITION, "CLUSTER_ENDED"),
    errors.ClusterNotEnded: (_C.FAILED_PRECONDITION, "CLUSTER_NOT_ENDED"),
    errors.KeepRefused: (_C.FAILED_PRECONDITION, "KEEP_REFUSED"),
    errors.StaleEtag: (_C.ABORTED, "STALE_ETAG"),
    errors.SessionReplaced: (_C.ABORTED, "SESSION_REPLACED"),
    errors.ResumeTokenTooOld: (_C.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD"),
    errors.StoreUnavailable: (_C.UNAVAILABLE, "STORE_UNAVAILABLE"),
    errors.Draining: (_C.UNAVAILABLE, "DRAINING"),
    errors.DeadlineExceeded: (_C.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    errors.InternalError: (_C.INTERNAL, "INTERNAL"),
}
_BY_REASON = {reason: cls for cls, (_, reason) in TABLE.items()}
# The class of a status without our details: it comes from gRPC, from Envoy, or from a newer headrace.
_BY_CODE: dict[grpc.StatusCode, type[errors.HeadraceError]] = {
    _C.INVALID_ARGUMENT: errors.InvalidRequest,
    _C.OUT_OF_RANGE: errors.InvalidRequest,
    _C.UNAUTHENTICATED: errors.Unauthenticated,
    _C.PERMISSION_DENIED: errors.PermissionDenied,
    _C.NOT_FOUND: errors.NotFound,
    _C.UNAVAILABLE: errors.Unreachable,
    _C.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    _C.RESOURCE_EXHAUSTED: errors.InvalidRequest,
    _C.FAILED_PRECONDITION: errors.GatewayClusterError,
}


@dataclass(frozen=True, slots=True)
class Status:
    """A status for `grpc.aio.ServicerContext.abort_with_status`."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


def to_status(error: errors.HeadraceError) -> Status:
    """Return the status of one of our errors, with its details; what is too long for headers is cut."""
    code, reason = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), (_C.INTERNAL, "INTERNAL"))
    message = _cut(error.message, _MESSAGE_SIZE)
    status = status_pb2.Status(code=code.value[0], message=message)
    facts = dict(_first((_cut_pair(*fact) for fact in error.details.items()), _FACTS_SIZE))
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason, metadata=facts))
    if isinstance(error, errors.InvalidRequest):
        fields = ((v.field, v.description) for v in error.violations[: errors.MAX_VIOLATIONS])
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in _first((_cut_pair(*violation) for violation in fields), _VIOLATIONS_SIZE)
        ]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.QuotaExceeded):
        subject, description = _cut_pair(error.details.get("subject", ""), error.message)
        violation = error_details_pb2.QuotaFailure.Violation(subject=subject, description=description)
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[violation]))
    if isinstance(error, errors.TooManyRequests):
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(retry_info)
    return Status(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def from_rpc_error(error: grpc.RpcError, doing: str = "") -> errors.HeadraceError:
    """Return the error that the server raised.

    Parameters
    ----------
    error
        The error that a stub raised.
    doing
        What the call was for, for errors that do not come from headrace.
    """
    assert isinstance(error, grpc.aio.AioRpcError | grpc.Call)
    details = {str(k): v for k, v in error.trailing_metadata() or ()}.get(DETAILS_KEY)
    if isinstance(details, bytes):
        try:
            return _from_details(status_pb2.Status.FromString(details), error.code())
        except DecodeError:
            pass
    cls = _BY_CODE.get(error.code(), errors.InternalError)
    text = error.details() or "no details"
    return cls(f"{doing}: {text} ({error.code().name})" if doing else f"{text} ({error.code().name})")


def has_details(error: grpc.RpcError) -> bool:
    """Return whether headrace sent this status, not gRPC or something between."""
    assert isinstance(error, grpc.aio.AioRpcError | grpc.Call)
    return any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())


def _from_details(status: status_pb2.Status, code: grpc.StatusCode) -> errors.HeadraceError:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.TypeName() == info.DESCRIPTOR.full_name:
            detail.Unpack(info)
        elif detail.TypeName() == bad_request.DESCRIPTOR.full_name:
            detail.Unpack(bad_request)
    cls = _BY_REASON.get(info.reason) or _BY_CODE.get(code, errors.InternalError)
    if cls is errors.InvalidRequest:
        violations = [errors.Violation(v.field, v.description) for v in bad_request.field_violations]
        return errors.InvalidRequest(status.message, dict(info.metadata), violations=violations)
    return cls(status.message, dict(info.metadata))


def _first(pairs: Iterable[tuple[str, str]], size: int) -> Iterator[tuple[str, str]]:
    """Yield the pairs that have room in this size together."""
    for pair in pairs:
        size -= sum(_size(text) for text in pair)
        if size < 0:
            return
        yield pair


def _cut_pair(first: str, second: str) -> tuple[str, str]:
    return _cut(first, _TEXT_SIZE), _cut(second, _TEXT_SIZE)


def _size(text: str) -> int:
    return len(quote_from_bytes(text.encode(errors="replace"), _PLAIN))


def _cut(text: str, size: int) -> str:
    """Return a text, shortened to this size as gRPC encodes messages."""
    if len(text) <= size and _size(text) <= size:
        return text
    encoded = quote_from_bytes(text[:size].encode(errors="replace"), _PLAIN)[: size - len("...")]
    whole, percent, rest = encoded.rpartition("%")
    if percent and len(rest) < 2:  # half a byte
        encoded = whole
    return unquote_to_bytes(encoded).decode(errors="ignore") + "..."
