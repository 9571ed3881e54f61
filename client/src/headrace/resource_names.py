"""Names of resources, as the API spells them: ``clusters/{cluster}``, ``users/{user}`` and so on."""

from __future__ import annotations

from headrace.errors import InvalidRequest, Violation


def cluster_name(cluster: str) -> str:
    """``clusters/{cluster}``."""
    return f"clusters/{cluster}"


def user_name(user: str) -> str:
    """``users/{user}``."""
    return f"users/{user}"


def worker_name(cluster: str, worker: str) -> str:
    """``clusters/{cluster}/workers/{worker}``."""
    return f"clusters/{cluster}/workers/{worker}"


def api_token_name(api_token: str) -> str:
    """``apiTokens/{api_token}``."""
    return f"apiTokens/{api_token}"


def last_part(name: str, collection: str, field: str = "name") -> str:
    """Returns the id from ``{collection}/{id}``.

    Raises
    ------
    InvalidRequest
        If `name` is not of that form; `field` is named in it.
    """
    prefix, _, rest = name.partition("/")
    if prefix != collection or not rest or "/" in rest or len(rest) > 256:
        raise InvalidRequest.of(Violation(field, f"{name[:80]!r} is not of the form {collection}/{{id}}"))
    return rest
