"""Numbers of bytes as people write them."""

from __future__ import annotations

_BINARY = tuple((1024**n, unit) for n, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB"), 1))
_DECIMAL = tuple((1000**n, unit) for n, unit in enumerate(("kB", "MB", "GB", "TB", "PB"), 1))
# Somebody wrote a number that is shorter than this; a longer one was measured.
_LONG = 10_000
_NOUNS = {
    "clusters": ("cluster", "clusters"),
    "workers": ("worker", "workers"),
    "cores": ("core", "cores"),
    "memory_bytes": ("of memory", "of memory"),
    "gpus": ("GPU", "GPUs"),
    "queued": ("cluster in the queue", "clusters in the queue"),
}


def format_bytes(number: int) -> str:
    """Return a number of bytes as text, exactly: ``"4 GiB"``, ``"5 GB"``, ``"1500 bytes"``."""
    exact = [(number // size, unit) for size, unit in (*_BINARY, *_DECIMAL) if number and number % size == 0]
    count, unit = min([*exact, (number, "bytes")], key=lambda pair: pair[0])
    return f"{count} {unit}"


def describe_bytes(number: int) -> str:
    """Return a number of bytes as text, rounded if it was not a person who wrote it: ``"4 GiB"``, ``"1.86 GiB"``."""
    exact = format_bytes(number)
    if int(exact.partition(" ")[0]) < _LONG:
        return exact
    size, unit = max((pair for pair in _BINARY if pair[0] <= number), default=(1, "bytes"))
    return f"{number / size:.4g} {unit}"


def shown_number(number: float) -> str:
    """Return a number as text, to thousandths and without a point if it is whole: ``"3"``, ``"1.5"``."""
    return str(int(number)) if number == int(number) else f"{number:.3f}".rstrip("0")


def describe_quantity(resource: str, amount: float) -> str:
    """Return an amount with its noun: ``"1 cluster"``, ``"0.5 cores"``, ``"4 GiB of memory"``, ``"3 of licences"``."""
    one, several = _NOUNS.get(resource, (f"of {resource}", f"of {resource}"))
    return f"{describe_amount(resource, amount)} {one if amount == 1 else several}"


def describe_amount(resource: str, amount: float) -> str:
    """Return an amount of a resource as text: ``"3"``, ``"4 GiB"``."""
    return describe_bytes(int(amount)) if resource == "memory_bytes" else shown_number(amount)
