"""TCP settings of both legs: what is buffered, and when a silent peer is given up."""

from __future__ import annotations

import socket

BUFFER_BYTES = 262_144
_IDLE_SECONDS, _INTERVAL_SECONDS, _PROBES = 60, 10, 6


def upstream_keepalive() -> dict[str, object]:
    """Keep-alive towards schedulers, dashboards and services."""
    return {
        "tcp_keepalive": {
            "keepalive_time": _IDLE_SECONDS,
            "keepalive_interval": _INTERVAL_SECONDS,
            "keepalive_probes": _PROBES,
        }
    }


def listener_keepalive() -> list[dict[str, object]]:
    """Keep-alive towards clients: accepted connections inherit the options of the listening socket."""
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
    )
    return [
        {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"} for level, name, value in options
    ]
