"""What the controller loads of the local backend: settings, options, and where its processes are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.option_types import BadValue
from headrace_backend_local import plugin
from headrace_controller.backends.base import Backend, Deployment
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.options.catalogue import Options


def create(directory: Path, **settings: Any) -> Backend:
    deployment = Deployment(id="test", agent_endpoint="unix:/agents")
    return plugin.create(plugin.Settings(directory=directory, **settings), deployment)


@pytest.mark.parametrize(
    "wrong", [{"standby": -1}, {"standby": 65}, {"nice": -1}, {"nice": 20}, {"warm": "perhaps"}, {"directry": "/x"}]
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        plugin.Settings.model_validate(wrong)


def test_values_of_options_are_checked() -> None:
    options = Options(plugin.options(plugin.Settings()))
    values, violations = options.check({"conda_prefix": "/opt/x", "start_command": ["dask", "worker"]}, "options")
    assert (values, violations) == ({"conda_prefix": "/opt/x", "start_command": ["dask", "worker"]}, [])
    _, violations = options.check({"conda_prefix": 3, "start_command": "dask worker"}, "options")
    assert [violation.field for violation in violations] == ["options.conda_prefix", "options.start_command"]
    for option in options:
        with pytest.raises(BadValue):
            option.type.check(None)


@pytest.mark.parametrize(
    ("listen_host", "names", "addresses"),
    [
        ("127.0.0.1", ("localhost",), ("127.0.0.1", "::1")),
        ("10.1.2.3", ("localhost",), ("10.1.2.3", "127.0.0.1", "::1")),
        ("node7", ("localhost", "node7"), ("127.0.0.1", "::1")),
        ("", ("localhost",), ("127.0.0.1", "::1")),
    ],
)
def test_a_process_is_reached_on_this_machine_and_at_the_address_that_it_listens_on(
    tmp_path: Path, listen_host: str, names: tuple[str, ...], addresses: tuple[str, ...]
) -> None:
    network = create(tmp_path, listen_host=listen_host).network("c1", SCHEDULER)
    assert network.agent_endpoint == "unix:/agents"
    assert (network.listen_host, network.dns_names, network.ip_addresses) == (listen_host, names, addresses)
