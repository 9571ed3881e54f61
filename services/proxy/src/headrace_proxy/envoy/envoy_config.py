"""How Envoy's configuration is written: plain JSON objects, extensions by their type."""

from __future__ import annotations

Config = dict[str, object]


def extension(name: str, message: str, fields: Config | None = None) -> Config:
    """An extension with its typed configuration."""
    return {"name": name, "typed_config": typed(message, fields)}


def typed(message: str, fields: Config | None = None) -> Config:
    """A message of Envoy's API inside an `Any`."""
    return {"@type": f"type.googleapis.com/{message}", **(fields or {})}
