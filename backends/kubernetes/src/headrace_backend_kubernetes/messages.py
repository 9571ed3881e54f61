"""What Kubernetes and the programs of tenants say, as people read it: one line of bounded length. Pure."""

from __future__ import annotations

_LONGEST = 1000


def one_line(message: str) -> str:
    """Returns a message without line breaks, or its first thousand characters; tenants write some of them."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
