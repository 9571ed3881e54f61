"""The one table of our errors and gRPC's statuses, used in both directions.

A status is sent as `google.rpc.Status` in the trailing metadata `grpc-status-details-bin`, with an `ErrorInfo` (domain
"headrace", reason, details) and, where it applies, a `BadRequest` or a `QuotaFailure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from headrace import errors

DOMAIN = "headrace"
DETAILS_KEY = "grpc-status-details-bin"

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
    errors.ClusterEnded: (_C.FAILED_PRECONDITION, "CLUSTER_ENDED"),
    errors.ClusterNotEnded: (_C.FAILED_PRECONDITION, "CLUSTER_NOT_ENDED"),
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
    """Return the status of one of our errors, with its details."""
    code, reason = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), (_C.INTERNAL, "INTERNAL"))
    status = status_pb2.Status(code=code.value[0], message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason, metadata=error.details))
    if isinstance(error, errors.InvalidRequest):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.QuotaExceeded):
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=error.details.get("subject", ""), description=error.message
        )
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[violation]))
    return Status(code, error.message, ((DETAILS_KEY, status.SerializeToString()),))


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
