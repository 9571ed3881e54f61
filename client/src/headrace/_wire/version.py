"""The version of the server, and whether it is too far from the version of this client."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable

logger = logging.getLogger("headrace")

# Trailing metadata of each answer: gRPC sends it together with the status, where initial metadata costs another packet.
KEY = "headrace-version"


def read_version(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the version in the metadata of an answer; "" if there is none."""
    return next((str(value) for key, value in metadata or () if key == KEY), "")


def are_far_apart(one: str, other: str) -> bool:
    """Return whether two versions are more than one minor release apart. False if one of them is no release."""
    first, second = _release(one), _release(other)
    if first is None or second is None:
        return False
    return first[0] != second[0] or abs(first[1] - second[1]) > 1


@functools.lru_cache(maxsize=64)
def warn_if_far(address: str, server: str) -> None:
    """Log a warning, once, if this client is not tested with the server's version."""
    from headrace import __version__

    if are_far_apart(__version__, server):
        logger.warning(
            "this client is headrace %s, the server at %s is %s: more than one minor release apart, calls may fail; "
            "install the server's release here (pip install 'headrace==%s.*'), or ask for an upgrade of the server",
            __version__,
            address,
            server,
            ".".join(server.split(".")[:2]),
        )


def _release(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
