"""Addresses that agents report: how they may be written, and which ones belong to a process of another host."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from headrace_controller.backends.addresses import check_remote_address, parse_address
from headrace_controller.backends.base import AddressRefused
from headrace_controller.backends.listeners import ListenerChecks

POD = ("10.0.0.7", "fd00::7")


@pytest.mark.parametrize("address", ["tls://10.0.0.7:40123", "10.0.0.7:8787", "tls://[fd00::7]:40123"])
def test_a_processes_own_addresses_are_accepted(address: str) -> None:
    check_remote_address(address, POD)


@pytest.mark.parametrize(
    "address",
    [
        "tls://10.0.0.8:40123",  # another process
        "10.0.0.7:443",  # a port for services
        "tls://127.0.0.1:40123",
        "tls://[::1]:40123",
        "tls://[::ffff:127.0.0.1]:40123",
        "tls://169.254.169.254:40123",
        "tls://[fe80::1]:40123",
        "tls://224.0.0.1:40123",
        "tls://0.0.0.0:40123",
        "tls://localhost:40123",
    ],
)
def test_all_other_addresses_are_refused_even_if_the_process_is_said_to_have_them(address: str) -> None:
    with pytest.raises(AddressRefused):
        check_remote_address(address, POD)
    if "10.0.0" not in address:
        with pytest.raises(AddressRefused):
            check_remote_address(address, [parse_address(address).host])


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.7:08787",
        "10.0.0.7:0",
        "10.0.0.7:65536",
        "10.0.0.7:+80",
        "10.0.0.7:٨٠",
        "fd00::7:80",
        "[fe80::1%eth0]:80",
        "10.0.0.7:80/path",
        "user@10.0.0.7:80",
        "a b:80",
        "10.0.0.7",
        ":80",
        "",
    ],
)
def test_what_two_readers_may_understand_differently_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        parse_address(address)


async def test_a_listener_on_all_addresses_is_found_under_those_of_this_machine_only() -> None:
    checks = ListenerChecks("")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        await checks.check(os.getpid(), f"127.0.0.1:{port}")
        for elsewhere in (f"192.0.2.7:{port}", f"169.254.169.254:{port}", f"0.0.0.0:{port}"):
            with pytest.raises(AddressRefused):
                await checks.check(os.getpid(), elsewhere)


async def test_the_configured_host_may_be_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(AddressRefused, match="its host is not one"):
            await ListenerChecks("127.0.0.1").check(os.getpid(), address)
        await ListenerChecks("localhost").check(os.getpid(), address)


async def test_a_check_sees_what_listens_when_it_is_asked_for() -> None:
    checks = ListenerChecks("127.0.0.1")
    for _ in range(3):
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
        await asyncio.gather(*(checks.check(os.getpid(), address) for address in addresses))
        for server in servers:
            server.close()
        gone = await asyncio.gather(
            *(checks.check(os.getpid(), address) for address in addresses), return_exceptions=True
        )
        assert [str(error) for error in gone] == ["nothing listens there"] * 8
