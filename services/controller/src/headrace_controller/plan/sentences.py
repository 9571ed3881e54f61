"""Parts of the sentences that people read."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from itertools import pairwise

from headrace.v1.enums import ExitCause
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.model import WorkerRecord

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_KILLED = 9
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


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
    if process.exit_cause is ExitCause.OUT_OF_MEMORY:
        return "exceeded its memory limit"
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
