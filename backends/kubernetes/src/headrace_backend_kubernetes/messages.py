"""What Kubernetes and the programs of tenants say, as people read it: one line of bounded length. Pure."""

from __future__ import annotations

_LONGEST = 1000


def one_line(message: str) -> str:
    """Returns a message without line breaks, or its first thousand characters.

    Tenants, and registries of their choice, write some of them: no character is left that a terminal would obey.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
