"""Every key that the controller has in Redis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes keys below one prefix, which ends with a colon."""

    prefix: str
