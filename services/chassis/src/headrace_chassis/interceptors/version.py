"""The version that each answer tells: a client warns of one too far from its own."""

from __future__ import annotations

from importlib.metadata import version

from headrace._wire.version import KEY

VERSION = ((KEY, version("headrace-chassis")),)
