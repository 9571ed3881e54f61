"""The JSON schema of policy files, for editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from headrace_controller.policy.file import PolicyFile

# What pydantic adds beyond the schema, and titles that repeat the key.
_LEFT_OUT = {"title", "ge", "le"}


def policy_schema() -> str:
    """Return the schema as JSON. It is of draft 7, which the editors' servers of YAML know best."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_plain(PolicyFile.model_json_schema())}
    return json.dumps(schema | {"title": "headrace policy"}, indent=2) + "\n"


def _plain(value: Any, *, names: bool = False) -> Any:
    """Leave out what editors do not need. The keys of `names` are those of the policy itself."""
    if isinstance(value, list):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    if not isinstance(value, Mapping):
        return value
    content = cast("Mapping[str, Any]", value)
    plain = {
        key: _plain(inner, names=key in {"properties", "patternProperties", "$defs"})
        for key, inner in content.items()
        if names or (key not in _LEFT_OUT and not (key == "default" and isinstance(inner, dict | list)))
    }
    if not names and "patternProperties" in plain:
        plain["additionalProperties"] = False  # a key that does not match is refused
    return plain
