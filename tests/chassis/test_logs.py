"""Log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from headrace_chassis import logs


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_json_line_has_facts_as_fields_and_no_secret(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info", "auth")
    token = logs.request_id.set("r-1")
    structlog.get_logger().info("logged in", user="ann", token=SecretStr("hunter2"))
    logs.request_id.reset(token)
    logging.getLogger("someone.else").warning("careful")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours.items() >= {"event": "logged in", "user": "ann", "token": "**********", "service": "auth"}.items()
    assert ours["request_id"] == "r-1"
    assert theirs["event"] == "careful"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variables(restored: None, capsys: pytest.CaptureFixture[str], style: str) -> None:
    logs.configure("json" if style == "json" else "console", "info")
    password = "hunter" + str(2)
    nothing: dict[str, str] = {}
    try:
        nothing["gone"]
    except KeyError:
        structlog.get_logger().exception("failed", length=len(password))
    written = capsys.readouterr().err
    assert "KeyError" in written
    assert "hunter2" not in written


def test_levels_below_the_one_set_are_not_written(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "warning")
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""
