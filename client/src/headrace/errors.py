"""What can go wrong, as classes that services raise and callers catch.

::

    HeadraceError
    ├── GatewayClusterError            the cluster is not in a state for this, or has failed
    │   ├── ClusterEnded               it is ending or has ended
    │   └── ClusterFailed              it failed; carries the reason and the log's tail
    ├── GatewayServerError             headrace itself could not
    │   ├── StoreUnavailable           its store is away: repeat
    │   ├── Draining                   this replica is shutting down: repeat
    │   ├── Unreachable                nothing answers at the address: see `headrace doctor`
    │   │   └── NotHeadrace            what answers there is not headrace, or its certificate is not trusted
    │   ├── DeadlineExceeded           not done in time
    │   ├── FencedOff                  the writer has lost its lease
    │   └── InternalError              a fault of headrace
    ├── InvalidRequest (ValueError)    fields are wrong; names each
    │   ├── WrongType (TypeError)      a value is of the wrong type
    │   └── UnknownOption              there is no such option (AttributeError, KeyError)
    ├── NotFound (ValueError)
    │   ├── ClusterNotFound, GroupNotFound, WorkerNotFound, ApiTokenNotFound
    ├── Unauthenticated
    │   ├── BadCredentials, TokenInvalid, TokenExpired, TokenRevoked
    ├── PermissionDenied
    ├── AliasTaken
    ├── QuotaExceeded                  a limit binds; says which, used and asked
    ├── StaleEtag                      read again, then write
    └── ResumeTokenTooOld              watch again from the start

Nothing here imports gRPC: :mod:`headrace._wire.status` alone knows both worlds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self


class HeadraceError(Exception):
    """Base of all errors of headrace.

    Parameters
    ----------
    message
        A sentence that says what, which and what to do.
    details
        Facts for programs; they travel with the error.
    """

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = dict(details or {})


class GatewayClusterError(HeadraceError):
    """A cluster is not in a state for what was asked."""


class ClusterEnded(GatewayClusterError):
    """The cluster is ending or has ended. Nothing was changed."""


class ClusterFailed(GatewayClusterError):
    """The cluster failed.

    Attributes
    ----------
    reason
        The end reason, such as ``"BACKEND_ERROR"``.
    log_tail
        Last lines of the log of what failed, at most 8 KiB.
    """

    def __init__(self, message: str, details: Mapping[str, str] | None = None, *, log_tail: str = "") -> None:
        super().__init__(message, details)
        self.log_tail = log_tail

    @property
    def reason(self) -> str:
        """The end reason, or "" if the server gave none."""
        return self.details.get("reason", "")

    def __str__(self) -> str:
        if not self.log_tail:
            return self.message
        return f"{self.message}\n--- last lines of its log ---\n{self.log_tail.rstrip()}"


class GatewayServerError(HeadraceError):
    """The server could not do what was asked."""


class StoreUnavailable(GatewayServerError):
    """The server's store is away. Nothing was changed as far as is known; repeating the call is safe."""


class Draining(GatewayServerError):
    """This replica is shutting down. Repeating the call is safe; another replica answers."""


class Unreachable(GatewayServerError):
    """Nothing that speaks headrace's protocol answers at the address."""


class NotHeadrace(Unreachable):
    """The address cannot be right: unknown, refused, not TLS, not trusted, or something else. Repeating cannot help."""


class DeadlineExceeded(GatewayServerError):
    """It was not done before the call's deadline."""


class FencedOff(GatewayServerError):
    """The writer no longer holds the lease. Nothing was changed."""


class InternalError(GatewayServerError):
    """A fault of headrace. Its log has the whole of it under the request id."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path, such as ``"spec.options.worker_memory"``, and what is wrong with it."""

    field: str
    description: str


class InvalidRequest(HeadraceError, ValueError):
    """Fields of the request are wrong. Nothing was changed."""

    def __init__(
        self, message: str, details: Mapping[str, str] | None = None, *, violations: Sequence[Violation] = ()
    ) -> None:
        super().__init__(message, details)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, *violations: Violation) -> Self:
        """Makes the error from the wrong fields alone."""
        return cls("; ".join(f"{v.field}: {v.description}" for v in violations), violations=violations)

    def __str__(self) -> str:
        return self.message


class WrongType(InvalidRequest, TypeError):
    """A value is of the wrong type. Nothing was changed."""


class UnknownOption(InvalidRequest, AttributeError, KeyError):
    """There is no such option. Nothing was changed."""


class NotFound(HeadraceError, ValueError):
    """There is no such thing that the caller may see."""


class ClusterNotFound(NotFound):
    """There is no such cluster that the caller may see."""


class GroupNotFound(NotFound):
    """The cluster has no such worker group."""


class WorkerNotFound(NotFound):
    """The cluster has no such worker or process."""


class ApiTokenNotFound(NotFound):
    """There is no such API token that the caller may see."""


class Unauthenticated(HeadraceError):
    """The caller did not prove who it is."""


class BadCredentials(Unauthenticated):
    """The credential is wrong."""


class TokenInvalid(Unauthenticated):
    """No token was sent, or none that this deployment signed."""


class TokenExpired(Unauthenticated):
    """The token has run out: log in again."""


class TokenRevoked(Unauthenticated):
    """The token was revoked."""


class PermissionDenied(HeadraceError):
    """The caller may not do this."""


class AliasTaken(HeadraceError):
    """A living cluster of the caller has this alias. Nothing was changed."""


class QuotaExceeded(HeadraceError):
    """A limit binds. Nothing was changed.

    The details carry ``subject`` (who the limit is on, such as ``"users/ann"``), ``what`` (``"clusters"``,
    ``"workers"``, ``"cores"``, ``"memory_bytes"``), ``limit``, ``used`` and ``asked``.
    """

    @classmethod
    def of(cls, *, subject: str, what: str, limit: int, used: int, asked: int) -> QuotaExceeded:
        """Makes the error from its facts."""
        return cls(
            f"{subject} may have {limit} {what}, has {used} and asked for {asked} more; "
            f"ask for at most {max(0, limit - used)}, or stop something first",
            {"subject": subject, "what": what, "limit": str(limit), "used": str(used), "asked": str(asked)},
        )


class StaleEtag(HeadraceError):
    """The record has changed since it was read. Nothing was changed: read again, then write."""


class ResumeTokenTooOld(HeadraceError):
    """The history no longer reaches back to this resume token: start again without one."""


class GatewayWarning(UserWarning):
    """Something is not as asked, but goes on."""
