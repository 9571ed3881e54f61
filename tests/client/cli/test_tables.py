"""Tables in terminals of different widths: nothing is cut off, and what is copied stays in one line."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

ID, NAME, MESSAGE = "cekomnleegxjp6osa3po", f"lab-{'x' * 59}", "The scheduler does not answer; it may be blocked."
_PROGRAM = f"""
from headrace.cli.output import print_table
columns = ["CLUSTER", "NAME", "OWNER", "PHASE", "WORKERS", "AGE", "MESSAGE"]
print_table(columns, [[{ID!r}, {NAME!r}, "ann@example.org", "running", "2/2", "4 s", {MESSAGE!r}]], "none")
"""


@pytest.mark.parametrize("width", [80, 160])
def test_a_table_fits_the_terminal_and_has_all_text(width: int) -> None:
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (50, width))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-c", _PROGRAM]
    subprocess.run(command, stdin=end, stdout=end, env={**environment, "TERM": "xterm"}, check=True, timeout=30)
    os.close(end)
    with os.fdopen(terminal, "rb", buffering=0) as output:
        text = re.sub(r"\x1b\[[0-9;]*m", "", output.read(65536).decode())
    lines = [line.rstrip("\r") for line in text.split("\n")]
    assert max(map(len, lines)) <= width
    assert any(ID in line for line in lines)
    heads = [line for line in lines if "CLUSTER" in line]
    assert len(heads) == 1
    columns = [heads[0].index(head) for head in ("NAME", "OWNER", "MESSAGE")]
    name = "".join(line[columns[0] : columns[1] - 1].strip() for line in lines[3:])
    message = " ".join(line[columns[2] :].strip() for line in lines[3:]).strip()
    assert name == NAME
    assert message == MESSAGE
