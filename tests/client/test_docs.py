"""The user guide runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import Gateway

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
    from headrace._target import config as _config

    page = (ROOT / "docs/client.md").read_text("utf-8")
    for key in re.findall(r"^\| `headrace\.([\w.-]+)`", page, re.MULTILINE):
        _config.get(key)
