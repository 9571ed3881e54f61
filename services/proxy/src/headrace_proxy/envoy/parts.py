"""Parts that several sections of Envoy's configuration share. Envoy reads it as JSON; extensions name their type."""

from __future__ import annotations

import socket

from headrace_chassis.addresses import listening_address

Config = dict[str, object]

BUFFER_BYTES = 262_144
_IDLE_SECONDS, _INTERVAL_SECONDS, _PROBES = 60, 10, 6


def extension(name: str, message: str, fields: Config | None = None) -> Config:
    """An extension with its typed configuration."""
    return {"name": name, "typed_config": typed(message, fields)}


def typed(message: str, fields: Config | None = None) -> Config:
    """A message of Envoy's API inside an `Any`."""
    return {"@type": f"type.googleapis.com/{message}", **(fields or {})}


def listening(address: str) -> Config:
    """The address of a listener, as `listening_address` reads it."""
    host, port = listening_address(address)
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def upstream_keepalive() -> Config:
    """TCP keep-alive towards schedulers, dashboards and services."""
    return {
        "tcp_keepalive": {
            "keepalive_time": _IDLE_SECONDS,
            "keepalive_interval": _INTERVAL_SECONDS,
            "keepalive_probes": _PROBES,
        }
    }


def listener_keepalive() -> list[Config]:
    """TCP keep-alive towards clients: accepted connections inherit the options of the listening socket."""
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
    )
    return [
        {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"} for level, name, value in options
    ]
