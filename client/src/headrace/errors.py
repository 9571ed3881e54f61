"""Errors: services raise these classes, and callers of the client catch the same ones.

::

    HeadraceError
    ├── GatewayClusterError            the cluster is in the wrong state, or has failed
    │   ├── ClusterEnded               it is stopping or has ended
    │   ├── ClusterNotEnded            it has not ended
    │   ├── KeepRefused                the policy does not allow to keep it that long
    │   └── ClusterFailed              it failed; carries the reason and the last lines of the log
    ├── GatewayServerError             headrace could not do it
    │   ├── StoreUnavailable           the store is away: retry
    │   ├── Draining                   this replica is shutting down: retry
    │   ├── TooManyRequests            too many requests, or the server is busy: repeat it later
    │   ├── Unreachable                nothing answers at the address: see `headrace doctor`
    │   │   └── NotHeadrace            something else than headrace answers, or its certificate is not trusted
    │   ├── DeadlineExceeded           not done in time
    │   ├── SessionReplaced            another agent took over the session of this cluster
    │   ├── StopFailed                 some of several clusters could not be stopped
    │   └── InternalError              an error inside headrace
    ├── InvalidRequest (ValueError)    fields are wrong; names each
    │   ├── WrongType (TypeError)      a value has the wrong type
    │   └── UnknownOption              there is no such option (AttributeError, KeyError)
    ├── NotFound (ValueError)
    │   ├── ClusterNotFound, GroupNotFound, WorkerNotFound, ApiTokenNotFound
    ├── Unauthenticated
    │   ├── BadCredentials, TokenInvalid, TokenExpired, TokenRevoked
    ├── PermissionDenied
    ├── AliasTaken                     a living cluster of the owner has this name
    │   └── OptionsDiffer              and other options than those asked for
    ├── QuotaExceeded                  a limit binds; names it, with what is used and requested
    ├── StaleEtag                      read again, then write
    └── ResumeTokenTooOld              watch again without the token

Nothing here imports gRPC: only :mod:`headrace._wire.status` knows both these classes and gRPC's codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from headrace.sizes import describe_amount, describe_quantity, shown_number


class HeadraceError(Exception):
    """Base of all errors of headrace.

    Parameters
    ----------
    message
        A sentence: what happened, to which object, what to do next.
    details
        Facts for programs. They are sent along with the error.
    """

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = dict(details or {})


class GatewayClusterError(HeadraceError):
    """The cluster is in a state that does not allow the request, or has failed."""


class ClusterEnded(GatewayClusterError):
    """The cluster is stopping or has ended. Nothing was changed."""


class ClusterNotEnded(GatewayClusterError):
    """The cluster has not ended. Nothing was changed: stop it first."""


class KeepRefused(GatewayClusterError):
    """The policy does not allow to keep the cluster for that long. Nothing was changed.

    The details have ``seconds``, the longest time from now that it allows.
    """


class ClusterFailed(GatewayClusterError):
    """The cluster failed.

    Attributes
    ----------
    reason
        The end reason, such as ``"BACKEND_ERROR"``, ``"IMAGE_UNAVAILABLE"`` or ``"PREEMPTED"``.
    log_tail
        Last lines of the log of the process that failed, at most 8 KiB.
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
        return f"{self.message}\n--- last lines of the log ---\n{self.log_tail.rstrip()}"


class GatewayServerError(HeadraceError):
    """The server could not fulfil the request."""


class StoreUnavailable(GatewayServerError):
    """The server's store is away. Retrying is safe."""


class Draining(GatewayServerError):
    """This replica is shutting down. Retrying is safe: another replica answers."""


class TooManyRequests(GatewayServerError):
    """The caller has sent too many requests, or the server is busy. Nothing was done: repeat it after `retry_after`."""

    @classmethod
    def of(cls, what: str, retry_after: float) -> Self:
        """Make the error from what there was too much of, and the seconds after which to repeat the call."""
        seconds = f"{max(0.1, retry_after):.1f}" if retry_after < 10 else f"{retry_after:.0f}"
        return cls(f"{what}; repeat it in {seconds} s", {"retry_after_seconds": seconds})

    @property
    def retry_after(self) -> float:
        """Seconds after which the call may be repeated."""
        try:
            return float(self.details["retry_after_seconds"])
        except (KeyError, ValueError):
            return 0.0


class Unreachable(GatewayServerError):
    """Nothing that speaks headrace's protocol answers at the address."""


class NotHeadrace(Unreachable):
    """The address is wrong: unknown host, refused, no TLS, no trusted certificate, or another program. Do not retry."""


class DeadlineExceeded(GatewayServerError):
    """The call's deadline passed."""


class SessionReplaced(GatewayServerError):
    """Another agent took over the session of this cluster. Raised towards agents only."""


class InternalError(GatewayServerError):
    """An error inside headrace. The server's log has the details under the request id."""


class StopFailed(GatewayServerError):
    """Some of several clusters could not be stopped. The others are stopping.

    Attributes
    ----------
    stopped
        Ids of the clusters that are stopping.
    failures
        Sentence for each cluster that could not be stopped, by its id.
    """

    def __init__(self, stopped: Sequence[str], failures: Mapping[str, str]) -> None:
        sentences = "; ".join(f"{cluster}: {message}" for cluster, message in failures.items())
        total = len(stopped) + len(failures)
        super().__init__(f"{len(failures)} of {total} clusters could not be stopped: {sentences}")
        self.stopped = tuple(stopped)
        self.failures = dict(failures)


MAX_VIOLATIONS = 20
"""Number of wrong fields that an error tells of."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A wrong field: its path, such as ``"spec.options.worker_memory"``, and what is wrong."""

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
        """Make the error from the wrong fields; the message has the first ones. What is about no field has none."""
        violations = tuple(dict.fromkeys(violations))
        first = violations[:MAX_VIOLATIONS]
        text = "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in first)
        if len(violations) > MAX_VIOLATIONS:
            text = f"more than {MAX_VIOLATIONS} fields are wrong; the first of them: {text}"
        return cls(text, violations=violations)

    def __str__(self) -> str:
        return self.message


class WrongType(InvalidRequest, TypeError):
    """A value has the wrong type. Nothing was changed."""


class UnknownOption(InvalidRequest, AttributeError, KeyError):
    """There is no such option. Nothing was changed."""


class NotFound(HeadraceError, ValueError):
    """There is no such resource that the caller may see."""


class ClusterNotFound(NotFound):
    """There is no such cluster that the caller may see."""


class GroupNotFound(NotFound):
    """The cluster has no such worker group."""


class WorkerNotFound(NotFound):
    """The cluster has no such worker or process."""


class ApiTokenNotFound(NotFound):
    """There is no such API token that the caller may see."""


class Unauthenticated(HeadraceError):
    """The caller did not prove its identity."""


class BadCredentials(Unauthenticated):
    """The credential is wrong."""


class TokenInvalid(Unauthenticated):
    """There is no token, or no key of this deployment signed it."""


class TokenExpired(Unauthenticated):
    """The token expired: log in again."""


class TokenRevoked(Unauthenticated):
    """The token was revoked."""


class PermissionDenied(HeadraceError):
    """The caller may not do this."""


class AliasTaken(HeadraceError):
    """A living cluster of the owner has this alias. Nothing was changed.

    The details have ``cluster``, the name of that cluster.
    """


class OptionsDiffer(AliasTaken):
    """A living cluster of the owner has this alias and other options than those asked for. Nothing was changed.

    The details have ``cluster`` and ``options``, the keys of the options that differ, separated by commas.
    """


class QuotaExceeded(HeadraceError):
    """A limit binds. Nothing was changed.

    The details have ``subject`` (whom the limit is for, such as ``"users/ann"``), ``what`` (``"clusters"``,
    ``"workers"``, ``"cores"``, ``"memory_bytes"``, ``"gpus"``, ``"queued"`` or the name of another resource),
    ``limit``, ``used``, ``left`` and ``asked``.
    """

    @classmethod
    def of(cls, *, subject: str, what: str, limit: float, used: float, asked: float) -> QuotaExceeded:
        """Make the error from its facts."""
        left = max(0, limit - used)
        number = partial(describe_amount, what)
        advice = f"ask for at most {number(left)} more, or stop something first" if left > 0 else "stop something first"
        amounts = {"limit": limit, "used": used, "left": left, "asked": asked}
        return cls(
            f"{subject} may have {describe_quantity(what, limit)}, "
            f"has {number(used)} and asked for {number(asked)} more; {advice}",
            {"subject": subject, "what": what, **{name: shown_number(amount) for name, amount in amounts.items()}},
        )


class StaleEtag(HeadraceError):
    """The record changed since it was read. Nothing was written: read it again, then write."""


class ResumeTokenTooOld(HeadraceError):
    """The history no longer reaches back to this resume token: watch again without one."""


class GatewayWarning(UserWarning):
    """Something is not as requested; the program continues."""
