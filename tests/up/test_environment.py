"""What the parts get of the environment that `headrace up` was started in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace_up.credentials import ensure_credentials
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process import Part
from headrace_up.process_tags import VARIABLE, tagged_environment
from headrace_up.services import bootstrap_part, service_parts
from headrace_up.valkey import valkey_part
from headrace_up.zygote import zygote_part

CANARY = "canary-4711"
OWN = {
    "controller": "HEADRACE_CONTROLLER_RETENTION_SECONDS",
    "auth": "HEADRACE_AUTH_TOKEN_SECONDS",
    "proxy": "HEADRACE_PROXY_LOG_LEVEL",
}


@pytest.fixture
def parts(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    for name in ("AWS_SECRET_ACCESS_KEY", "HEADRACE_UP_PORT", "https_proxy", "HEADRACE_TOKEN", "HEADRACE_AUTHOR"):
        monkeypatch.setenv(name, CANARY)
    for name in OWN.values():
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    options = UpOptions(data=layout.data)
    credentials = ensure_credentials(layout, "ann")
    zygote = zygote_part(layout, options)
    assert zygote is not None
    found = [
        zygote,
        valkey_part(layout, tagged_environment(layout.data)),
        bootstrap_part(layout, 8790, credentials),
        *service_parts(layout, options, 8790, credentials),
    ]
    return {part.name: part for part in found}


def test_nothing_that_is_not_on_the_list_reaches_a_part(parts: dict[str, Part]):
    assert len(parts) == 6
    for part in parts.values():
        assert CANARY not in part.environment.values(), part.name


def test_each_service_has_its_own_settings_and_no_others(parts: dict[str, Part]):
    for name, setting in OWN.items():
        settings = {key for key in parts[name].environment if key.startswith("HEADRACE_") and key != VARIABLE}
        assert setting in settings
        assert all(key.startswith(f"HEADRACE_{name.upper()}_") for key in settings)


def test_all_have_the_tag_the_path_and_the_locale(parts: dict[str, Part], layout: Layout):
    for part in parts.values():
        assert part.environment[VARIABLE] == str(layout.data)
        assert part.environment["LC_ALL"] == "C.UTF-8"
        assert Path(part.environment["PATH"].split(os.pathsep)[0]).is_absolute()
