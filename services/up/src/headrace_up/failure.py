"""Why `headrace up` cannot start or go on."""

from __future__ import annotations


class CannotRun(Exception):
    """The message says what is wrong and the next step; nothing is left running."""
