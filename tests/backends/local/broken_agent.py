"""A module of the agent's shape that cannot be imported to the end."""

from collections.abc import Iterator, Sequence


def preload() -> Iterator[bool]:
    yield False
    raise ImportError("no module named dask")


def start_helpers(private: Sequence[int]) -> None: ...


def repair() -> bool:
    return False


def standby() -> None: ...


def run() -> int:
    return 0
