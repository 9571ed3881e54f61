"""Names of resources, as the API spells them: ``clusters/{cluster}``, ``users/{user}`` and so on."""

from __future__ import annotations

import re

from headrace.errors import InvalidRequest, Violation

_CLUSTER_ID = re.compile(r"c[a-z2-7]{19}")


def is_cluster_id(text: str) -> bool:
    """Return whether this is the id of a cluster; otherwise it is an alias."""
    return _CLUSTER_ID.fullmatch(text) is not None


def cluster_name(cluster: str) -> str:
    """``clusters/{cluster}``."""
    return f"clusters/{cluster}"


def user_name(user: str) -> str:
    """``users/{user}``."""
    return f"users/{user}"


def worker_name(cluster: str, worker: str) -> str:
    """``clusters/{cluster}/workers/{worker}``."""
    return f"clusters/{cluster}/workers/{worker}"


def event_name(cluster: str, event: str) -> str:
    """``clusters/{cluster}/events/{event}``."""
    return f"clusters/{cluster}/events/{event}"


def group_name(group: str) -> str:
    """``groups/{group}``, for a group of users."""
    return f"groups/{group}"


def api_token_name(api_token: str) -> str:
    """``apiTokens/{api_token}``."""
    return f"apiTokens/{api_token}"


def last_part(name: str, collection: str, field: str = "name") -> str:
    """Return the id of ``{collection}/{id}``.

    Raises
    ------
    InvalidRequest
        `name` has another form. The error names `field`.
    """
    prefix, _, rest = name.partition("/")
    if prefix != collection or not rest or "/" in rest or len(rest) > 256:
        raise InvalidRequest.of(Violation(field, f"{name[:80]!r} is not of the form {collection}/{{id}}"))
    return rest
