"""What goes wrong with the local directory, and what it means for processes. Pure."""

from __future__ import annotations

import errno
from pathlib import Path

from headrace.v1.enums import ExitCause
from headrace_controller.backends.base import BackendError

_PASSING = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def directory_error(directory: Path, error: OSError) -> BackendError:
    """Returns what the controller hears: a start fails at once unless the same may soon succeed by itself."""
    if error.errno in _PASSING:
        return BackendError(f"the local directory {directory} cannot be used now: {error}")
    if error.errno in _FULL:
        what = f"the disk of the local directory {directory} is full: ask an administrator to make room ({error})"
    else:
        what = f"the local directory {directory} cannot be used: ask an administrator to repair it ({error})"
    return BackendError(what, cause=ExitCause.START_FAILED)
