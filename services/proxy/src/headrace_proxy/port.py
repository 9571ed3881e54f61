"""Is the public port free, and if not, who has it."""

from __future__ import annotations

import errno
import socket
from contextlib import closing, suppress
from pathlib import Path

from headrace_chassis.addresses import host_port
from headrace_chassis.tls.listener import AddressInUse

_PROC = Path("/proc")
_LISTENING = "0A"


def check_port_free(address: str) -> None:
    """Raises `AddressInUse` if nobody could listen at ``ip:port`` now."""
    host, port = host_port(address)
    with closing(socket.socket(_family(host), socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise AddressInUse(_explain(host, port, error)) from None


def is_listening(address: str) -> bool:
    """Whether somebody accepts connections at ``ip:port``."""
    host, port = host_port(address)
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
    with closing(socket.socket(_family(host), socket.SOCK_STREAM)) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((everywhere.get(host, host), port)) == 0


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _explain(host: str, port: int, error: OSError) -> str:
    choose = "choose another with HEADRACE_PROXY_PUBLIC_LISTEN"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken{_by_whom(port)}; end that, or {choose}"
    return f"nothing can listen on port {port} of {host}: {error.strerror}; {choose}"


def _by_whom(port: int) -> str:
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in _PROC.glob("[0-9]*"):
        # Other users' processes and processes that just ended cannot be looked into.
        with suppress(OSError):
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                return f", by pid {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            rows = [line.split() for line in (_PROC / "net" / table).read_text().splitlines()[1:]]
            inodes |= {r[9] for r in rows if r[3] == _LISTENING and int(r[1].rpartition(":")[2], 16) == port}
    return inodes
