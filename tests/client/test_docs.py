"""The user guide runs, and its tables have all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.client.guide import table

from headrace import Gateway, errors
from headrace._target import config
from headrace.cli import clusters
from headrace.v1.enums import ConditionType, EventType

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", ["docs/client.md", "client/README.md"])
def test_each_block_runs(page: str, configured: None, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as a reader would."""
    names: dict[str, object] = {}
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    gateway = names["gateway"]
    assert isinstance(gateway, Gateway)
    assert gateway.list_clusters() == []
    gateway.close()
    if page == "docs/client.md":
        assert capsys.readouterr().out.splitlines().count("45") == 3


def test_the_table_of_settings_names_real_ones() -> None:
    settings = [name.strip("`").removeprefix("headrace.") for name in table("setting")]
    assert len(settings) > 5
    for name in settings:
        config.get(name)


def test_the_table_of_events_has_all_types_of_the_contract() -> None:
    assert [name.strip("`") for name in table("event")] == list(EventType)


def test_the_table_of_conditions_has_all_types_of_the_contract() -> None:
    assert [name.strip("`") for name in table("condition")] == list(ConditionType)


def test_the_table_of_errors_names_real_ones() -> None:
    for row in table("raised"):
        assert issubclass(getattr(errors, re.findall(r"`(\w+)`", row)[0]), errors.HeadraceError)


def test_the_page_of_the_command_line_has_all_commands_on_clusters() -> None:
    page = (ROOT / "docs/cli.md").read_text("utf-8")
    documented = {re.findall(r"`clusters (\w+)", row)[0] for row in table("command", page)}
    commands = {command.name or command.callback.__name__ for command in clusters.app.registered_commands}  # pyright: ignore[reportOptionalMemberAccess]
    assert documented == commands
