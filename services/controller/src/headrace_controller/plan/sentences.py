"""Parts of the sentences that people read."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.model import WorkerRecord

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_KILLED = 9
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_WAITS = {
    WaitReason.UNSCHEDULABLE: "for room on a node",
    WaitReason.NODE_COMING: "for a node that is being added",
    WaitReason.NO_NODE_COMING: "for room on a node, and no node is being added",
    WaitReason.IMAGE_PULL: "for an image to be pulled",
    WaitReason.STARTING: "for the process to start",
    WaitReason.PLATFORM_AWAY: "for its platform to answer",
}
_ENDED = {
    ExitCause.OUT_OF_MEMORY: "exceeded its memory limit",
    ExitCause.IMAGE_UNAVAILABLE: "could not be started, because its image is not available",
    ExitCause.REFUSED: "could not be started, because the platform refuses it",
    ExitCause.QUOTA_EXCEEDED: "could not be started, because a quota has no room for it",
    ExitCause.EVICTED: "was evicted from its node",
    ExitCause.PREEMPTED: "was preempted",
    ExitCause.NODE_LOST: "was lost with its node",
    ExitCause.DELETED: "was deleted, and not by headrace",
}
_LEAVING = {
    ExitCause.EVICTED: "is being evicted from its node",
    ExitCause.PREEMPTED: "is being preempted",
    ExitCause.NODE_LOST: "is about to be lost with its node",
    ExitCause.DELETED: "is being deleted, and not by headrace",
}
_ADVICE = {
    ExitCause.IMAGE_UNAVAILABLE: " Check the name of the image, and that it may be pulled from here.",
    ExitCause.REFUSED: " Choose other options, or ask an administrator.",
    ExitCause.QUOTA_EXCEEDED: " Ask for less, stop what you do not need, or ask an administrator for more.",
    ExitCause.EVICTED: " Create a new cluster to continue.",
    ExitCause.PREEMPTED: " Create a new cluster to continue.",
    ExitCause.NODE_LOST: " Create a new cluster to continue.",
    ExitCause.DELETED: " Create a new cluster to continue.",
}


def count(n: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """``0.5 s``, ``1 h 30 min``: rounded to the two largest units."""
    for (unit, size), (smaller, step) in pairwise(_UNITS):
        if seconds >= size:
            whole, rest = divmod(round(seconds / step), size // step)
            return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
    return f"{seconds:g} s"


def size(number: int) -> str:
    """``400 MiB``, ``1.86 GiB``: a number of bytes, rounded."""
    unit = min(max(0, number.bit_length() - 1) // 10, len(_SIZES) - 1)
    return f"{number / 1024**unit:.4g} {_SIZES[unit]}"


def lower_first(sentence: str) -> str:
    """The sentence, to continue another one after a colon."""
    return sentence[:1].lower() + sentence[1:]


def about_workers(workers: Sequence[WorkerRecord], one: str, several: str, first_was: str = "") -> str:
    """``Worker default-1-abc was lost. Its process ended.``, with what is known of the first worker."""
    first = workers[0]
    subject = (
        f"Worker {first.id} {one}." if len(workers) == 1 else f"{len(workers)} workers {several}, such as {first.id}."
    )
    return " ".join(filter(None, [subject, first_was, first.message or "It has joined again."]))


def clock_time(seconds: float) -> str:
    """``14:02 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M UTC")


def describe_wait(reason: WaitReason | None) -> str:
    """``for room on a node``, to continue "waits"."""
    return _WAITS.get(reason, "for room") if reason else "for room"


def detail(message: str) -> str:
    """``: 0/3 nodes are available.``, to end a sentence with what the backend says."""
    return f": {message.rstrip('.')}." if message else "."


def describe_end(cause: ExitCause) -> str:
    """``was preempted``, to continue the name of a process that others have ended."""
    return _ENDED.get(cause, "was ended, and not by headrace")


def describe_leaving(cause: ExitCause) -> str:
    """``is being preempted``, to continue the name of a process."""
    return _LEAVING.get(cause, "is being ended, and not by headrace")


def advice(cause: ExitCause | None) -> str:
    """What a user does next, to append to a sentence; "" if that depends."""
    return _ADVICE.get(cause, "") if cause else ""


def describe_exit(process: ProcessStatus) -> str:
    """``ended with exit code 1: no such file``, to continue the name of a process."""
    sentence = _cause(process)
    if process.message:
        return f"{sentence}: {process.message.rstrip('.')}"
    if process.exit_code is None or process.exit_cause not in {None, ExitCause.EXITED}:
        return sentence
    return describe_exit_code(process.exit_code)


def describe_exit_code(code: int) -> str:
    """``was killed by signal 15 (SIGTERM)``, to continue the name of a process of which nothing else is known."""
    sentence = _code(code)
    if code == -_KILLED:
        return f"{sentence}: perhaps by the kernel, because memory ran out"
    if code == 128 + _KILLED:  # as shells and containers say it
        return f"{sentence}, as after signal {_signal_name(_KILLED)}: perhaps by the kernel, because memory ran out"
    return sentence


def _cause(process: ProcessStatus) -> str:
    code = process.exit_code
    if process.exit_cause is not None and process.exit_cause in _ENDED:
        return _ENDED[process.exit_cause]
    if process.exit_cause is ExitCause.START_FAILED:
        return "could not be started" + ("" if code is None else f" (exit code {code})")
    return "ended" if code is None else _code(code)


def _code(code: int) -> str:
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
