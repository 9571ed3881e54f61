"""Tells parts of this replica what others of it did, without a detour over the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Signal(Generic[T]):
    """Calls all who listen. Parts that need one another are connected after all of them were made."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], None]] = []

    def connect(self, *listeners: Callable[[T], None]) -> None:
        """Adds listeners."""
        self._listeners += listeners

    def __call__(self, value: T) -> None:
        for listener in self._listeners:
            listener(value)
