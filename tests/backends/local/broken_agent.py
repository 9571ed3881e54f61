"""A module of the agent's shape that cannot be imported to the end."""


def preload() -> None:
    raise ImportError("no module named dask")


def standby() -> None: ...


def run() -> int:
    return 0
