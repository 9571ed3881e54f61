"""CI runs every suite that `make` has."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_suite_of_make_is_in_a_step() -> None:
    makefile, steps = (ROOT / "Makefile").read_text("utf-8"), (ROOT / ".ci" / "run").read_text("utf-8")
    suites = set(re.findall(r"^(check|coverage|demo|test[\w-]*):", makefile, re.MULTILINE))
    made = [step.split() for step in re.findall(r"^step \S+ make (.*)", steps, re.MULTILINE)]
    assert suites
    assert suites - {word for words in made for word in words} == set()
