"""Objects of a namespace in memory. They pass the same suite as those of a real one, `objects_contract.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class MemoryObjects:
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    async def secret(self, name: str) -> dict[str, bytes] | None:
        return self.secrets.get(name)

    async def create_secret(self, name: str, data: Mapping[str, bytes], *, tls: bool = False) -> bool:
        _ = tls
        if name in self.secrets:
            return False
        self.secrets[name] = dict(data)
        return True

    async def replace_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        self.secrets[name] |= data

    async def save_config_map(self, name: str, data: Mapping[str, str]) -> None:
        self.config_maps[name] = dict(data)
