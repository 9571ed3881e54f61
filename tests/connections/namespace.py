"""A network namespace with one way out to this machine, which can become silent. It needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

_RELAY = Path(__file__).with_name("relay.py")
_NETWORK = ip_network("10.212.0.0/15")
_NOBODY = "02:00:00:00:00:01"


class Namespace:
    """Its loopback address leads to the same port of this machine's."""

    def __init__(self, name: str, interface: str, here: str, there: str) -> None:
        self.command = ("ip", "netns", "exec", name)
        self._interface = interface
        self._here, self._there = here, there

    def silence(self) -> None:
        """Let packets vanish in both directions: nobody closes or refuses anything."""
        for command, address in ((), self._there), (self.command, self._here):
            ip(*command, neighbour=("replace", address, "lladdr", _NOBODY, "nud", "permanent", "dev", self._interface))

    def speak(self) -> None:
        """Let packets through again."""
        for command, address in ((), self._there), (self.command, self._here):
            ip(*command, neighbour=("del", address, "dev", self._interface))


def ip(*command: str, neighbour: tuple[str, ...]) -> None:
    subprocess.run([*command, "ip", "neigh", *neighbour], check=True)


@contextmanager
def namespace(port: int) -> Generator[Namespace]:
    """Make a namespace from which this port of this machine can be reached; leave nothing of it."""
    name = interface = f"hr{os.getpid()}"
    here, there = _addresses()

    def run(*command: str) -> None:
        subprocess.run(command, check=True)

    with ExitStack() as stack:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "del", name)
        run("ip", "link", "add", interface, "type", "veth", "peer", "name", interface, "netns", name)
        stack.callback(run, "ip", "link", "del", interface)
        within = ("ip", "netns", "exec", name)
        for command, address in ((), here), (within, there):
            run(*command, "ip", "address", "add", f"{address}/30", "dev", interface)
            run(*command, "ip", "link", "set", interface, "up")
        run(*within, "ip", "link", "set", "lo", "up")
        for command, addresses in ((), (here, "127.0.0.1")), (within, ("127.0.0.1", here)):
            relay = subprocess.Popen(
                [*command, sys.executable, str(_RELAY), *addresses, str(port)], stdout=subprocess.PIPE
            )
            stack.callback(relay.wait)
            stack.callback(relay.kill)
            assert relay.stdout is not None
            stack.callback(relay.stdout.close)
            assert relay.stdout.readline() == b"relaying\n"
        yield Namespace(name, interface, here, there)


def _addresses() -> tuple[str, str]:
    """Return two addresses of a /30 network that no other process uses: tests run side by side."""
    first = 4 * (os.getpid() % (_NETWORK.num_addresses // 4))
    return str(_NETWORK[first + 1]), str(_NETWORK[first + 2])
