"""Why `headrace up` cannot start or cannot continue. The messages are for people; nothing is left running."""

from __future__ import annotations


class CannotRun(Exception):
    """Something has to be fixed first; the message says what."""


class GaveUp(Exception):
    """A part of the system keeps dying; the message carries the end of its log."""
