"""The state of an object, as Dask and as dask-gateway have it."""

from __future__ import annotations

from distributed.core import Status


class State(str):
    """A `distributed.core.Status` that is text, too: it equals both ``Status.running`` and ``"running"``."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)

    @property
    def value(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return str(self) == (other.value if isinstance(other, Status) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    # The hash of a Status is that of its name, too.
    __hash__ = str.__hash__
