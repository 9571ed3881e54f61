"""A process that was forked from one with a Gateway makes its own: it works, or fails at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.client.fake_headrace import FakeHeadrace

_PROGRAM = """
import os, sys
from headrace import Gateway, TokenAuth

def new_gateway():
    return Gateway({address!r}, auth=TokenAuth("ann-secret"), tls_ca_file={ca_file!r})

gateway = new_gateway()
{before}
child = os.fork()
if child == 0:
    try:
        with new_gateway() as own:
            print(own.whoami().name, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1] or new_gateway().whoami().name != "ann")
"""


@pytest.mark.parametrize(
    ("before", "output"),
    [
        ("gateway.whoami()", "GatewayServerError process"),
        ("", "ann"),
        ("gateway.whoami(); gateway.close()", "GatewayServerError process"),
    ],
    ids=["open", "unused", "closed"],
)
def test_a_gateway_of_ones_own_in_a_forked_process(fake: FakeHeadrace, before: str, output: str) -> None:
    program = _PROGRAM.format(address=fake.address, ca_file=str(fake.ca_file), before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(output)
    assert ("spawn" in done.stdout) == ("Error" in done.stdout)
