"""Why `headrace up` cannot start. The messages are for people; of what it started, nothing is left running."""

from __future__ import annotations


class CannotRun(Exception):
    """Something has to be fixed first; the message says what."""


class GaveUp(Exception):
    """A part of the system is never ready; the message carries the end of its log."""
