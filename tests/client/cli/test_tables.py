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


def in_terminal(program: str, width: int) -> list[str]:
    """Return the lines that the program prints in a terminal of this width."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (50, width))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-c", program]
    subprocess.run(command, stdin=end, stdout=end, env={**environment, "TERM": "xterm"}, check=True, timeout=30)
    os.close(end)
    with os.fdopen(terminal, "rb", buffering=0) as output:
        text = re.sub(r"\x1b\[[0-9;]*m", "", output.read(65536).decode())
    return [line.rstrip("\r") for line in text.split("\n")]


@pytest.mark.parametrize("width", [80, 160])
def test_a_table_fits_the_terminal_and_has_all_text(width: int) -> None:
    lines = in_terminal(_PROGRAM, width)
    assert max(map(len, lines)) <= width
    assert any(ID in line for line in lines)
    heads = [line for line in lines if "CLUSTER" in line]
    assert len(heads) == 1
    columns = [heads[0].index(head) for head in ("NAME", "OWNER", "MESSAGE")]
    name = "".join(line[columns[0] : columns[1] - 1].strip() for line in lines[3:])
    message = " ".join(line[columns[2] :].strip() for line in lines[3:]).strip()
    assert name == NAME
    assert message == MESSAGE


def test_a_terminal_too_narrow_for_the_columns_shows_each_row_as_lines() -> None:
    lines = in_terminal(_PROGRAM, 60)
    assert lines[:3] == [f"CLUSTER  {ID}", f"NAME     {NAME}", "OWNER    ann@example.org"]
    assert f"MESSAGE  {MESSAGE}" in lines


def test_numbers_stand_below_each_other() -> None:
    program = (
        "from headrace.cli.output import print_table\n"
        'print_table(["USER", "CORE-H"], [["ann", "0.13"], ["bob", "1234.56"]], "none", numbers=["CORE-H"])'
    )
    assert [line.strip() for line in in_terminal(program, 80) if "." in line] == ["ann       0.13", "bob    1234.56"]
