"""What goes wrong with the API server, and what it means for a process. Pure."""

from __future__ import annotations

import re

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.objects import Details
from headrace_controller.backends.base import BackendError

_NO_DETAILS = Details()
_AWAY = frozenset({502, 503, 504})  # of what stands before the API server, or itself as it ends
_BUSY = frozenset({408, 429})
_PASSING = frozenset({*_AWAY, *_BUSY, 500})
_STORE_AWAY = re.compile(
    r"etcdserver: (request timed out|no leader|leader changed|too many requests|server stopped|mvcc: database space)"
    r"|rpc error: code = Unavailable"
)
_TOO_LARGE = "request is too large"  # for etcd, which the API server answers with 500


class ApiError(Exception):
    """The API server refused a request. The message is its own sentence."""

    def __init__(self, code: int, reason: str = "", message: str = "", details: Details = _NO_DETAILS) -> None:
        super().__init__(message or reason or f"HTTP status {code}")
        self.code = code
        self.reason = reason
        self.details = details

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed soon. A quota that two requests change at once answers Conflict."""
        of_quota = self.code == 409 and self.reason == "Conflict" and "resourcequotas" in str(self)
        return (self.code in _PASSING and _TOO_LARGE not in str(self)) or of_quota

    @property
    def is_of_absence(self) -> bool:
        """Whether it says no more than that the API server does not answer."""
        return self.code in _AWAY

    @property
    def is_of_platform(self) -> bool:
        """Whether the API server is away, has too much to do, or does not reach its own store."""
        of_store = self.reason == "ServerTimeout" or _STORE_AWAY.match(str(self)) is not None
        return self.code in _AWAY | _BUSY or (self.code == 500 and of_store)

    @property
    def is_gone(self) -> bool:
        """Whether the object is gone, or is another one of the same name."""
        return self.code == 404 or (self.code == 409 and "uid" in str(self).lower())

    @property
    def exists_already(self) -> bool:
        """Whether there is an object of this name."""
        return self.code == 409 and self.reason == "AlreadyExists"


class Unreachable(Exception):
    """The API server did not answer. The message says why."""

    def __init__(self, why: BaseException) -> None:
        super().__init__(str(why) or type(why).__name__)


def backend_error(what: str, error: ApiError | Unreachable) -> BackendError:
    """Returns what the controller hears: permanent if the API server will never accept it.

    What may pass, and is neither its absence nor its load, such as a webhook that is away, is of unknown length.
    """
    if isinstance(error, Unreachable):
        return BackendError(f"{what}: {silent(error)}", wait=WaitReason.PLATFORM_AWAY)
    wait = WaitReason.PLATFORM_AWAY if error.is_of_platform else None
    return BackendError(f"{what}: {error}", cause=refusal_cause(error), wait=wait)


def silent(error: BaseException) -> str:
    """Returns the sentence about an API server that is away."""
    return f"the Kubernetes API server does not answer: {error}"


def refusal_cause(error: ApiError) -> ExitCause | None:
    """Returns why a pod was refused for good; None if the API server may accept it later."""
    if error.code == 403 and "exceeded quota" in str(error):
        return ExitCause.QUOTA_EXCEEDED
    if error.is_passing or error.code in {401, 409}:
        return None
    return ExitCause.REFUSED
