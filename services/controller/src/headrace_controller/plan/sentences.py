"""What people are told."""

from __future__ import annotations

import signal

from headrace_controller.backends.base import ExitCause, ProcessStatus
from headrace_controller.model import EndReason, Spec

STOP_SENTENCES = {
    EndReason.USER: "it was asked to stop",
    EndReason.IDLE: "it had nothing to do for too long",
    EndReason.NO_CLIENT: "no client was connected for too long",
    EndReason.LIFETIME: "it has reached its maximum lifetime",
    EndReason.LIMIT: "a limit is now below what it used",
    EndReason.BUDGET: "its budget is used up",
}


def count(n: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def of_group(spec: Spec, group: str) -> str:
    """`` of group gpu``, to go on from workers; "" where there is only one group."""
    return f" of group {group}" if len(spec.groups) > 1 else ""


def how_it_ended(process: ProcessStatus) -> str:
    """``ended with exit code 1: no such file``, to go on from a name."""
    sentence = _cause(process)
    return f"{sentence}: {process.message}" if process.message else sentence


def _cause(process: ProcessStatus) -> str:
    code = process.exit_code
    if process.cause is ExitCause.OUT_OF_MEMORY:
        return "used more memory than it may"
    if process.cause is ExitCause.START_FAILED:
        return "could not be started" + ("" if code is None else f" (exit code {code})")
    if code is None:
        return "ended"
    return f"was killed by signal {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def tail(log: str, most_bytes: int) -> str:
    """The last whole lines of a log that fit."""
    encoded = log.encode()
    if len(encoded) <= most_bytes:
        return log
    cut = encoded[-most_bytes:].decode(errors="ignore")
    _, _, whole_lines = cut.partition("\n")
    return whole_lines or cut
