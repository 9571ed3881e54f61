"""``check-config`` and ``check-policy`` tell what is wrong with a policy before a controller runs with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from headrace_controller.__main__ import app
from headrace_controller.config import Settings

BROKEN = """\
profiles:
  small:
    backend: slurm
  large:
    options:
      worker_memry: {default: 4 GiB}
      worker_cores: {minimum: 8}
"""


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    monkeypatch.setenv("HEADRACE_CONTROLLER_LISTEN", "unix:/run/x.sock")
    monkeypatch.setenv("HEADRACE_CONTROLLER_DEPLOYMENT_KEY_FILE", "/keys")
    monkeypatch.setenv("HEADRACE_CONTROLLER_BACKENDS", '{"local": {"directory": "/tmp/x"}}')
    monkeypatch.setenv("HEADRACE_CONTROLLER_POLICY_FILE", str(file))
    return file


def test_check_config_tells_all_that_the_backends_do_not_fit(policy: Path) -> None:
    policy.write_text(BROKEN)
    code, output = run("check-config")
    assert code == 2
    first, backend, option, default = output.splitlines()
    assert first == f"the policy file {policy} is refused:"
    assert backend == "line 3: profiles.small.backend: there is no backend 'slurm'; `backends` has local"
    assert option.startswith("line 6: profiles.large.options.worker_memry: backend 'local' has no such option")
    assert default.startswith("line 7: profiles.large.options.worker_cores: the default must be at least 8, is 1")
    policy.write_text("profiles: {small: {}}")
    code, output = run("check-config")
    assert code == 0
    assert str(policy) in output


def test_check_config_tells_the_line_of_broken_python(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "site_broken_options.py"
    module.write_text("import os\n\nlimit = int(os.environ['NO_SUCH_VARIABLE'])\n")
    policy.write_text("profiles:\n  lab:\n    python: 'site_broken_options:offer'\n")
    code, output = run("check-config")
    assert code == 2
    told = f"line 3: profiles.lab.python: cannot be imported: {module}, line 3: KeyError: 'NO_SUCH_VARIABLE'"
    assert output.splitlines()[1] == told


def test_check_policy_needs_no_settings(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(BROKEN)
    assert run("check-policy", str(file)) == (0, f"{file}: no problems found\n")
    file.write_text("\nlimits: {user: {cores: -1}}")
    code, output = run("check-policy", str(file))
    assert code == 2
    assert "line 2: limits.user.cores: Input should be greater than or equal to 0" in output
    code, output = run("check-policy", str(tmp_path / "gone"))
    assert code == 2
    assert output == f"the policy file {tmp_path / 'gone'} cannot be read: No such file or directory\n"


def test_what_the_policy_file_decides_cannot_be_set_beside_it(policy: Path) -> None:
    with pytest.raises(ValidationError, match=r"do not set limits, idle_timeout_seconds here, .* culling.idle.after"):
        Settings.model_validate({"limits": {"user": {"clusters": 3}}, "idle_timeout_seconds": 3})


def test_what_backends_and_measurements_do_not_allow_is_told_together(policy: Path) -> None:
    policy.write_text("profiles: {a: {backend: slurm}}\nculling:\n  rules: [{name: hot, query: up, after: 1 h}]\n")
    code, output = run("check-config")
    _, backend, rules = output.splitlines()
    assert code == 2
    assert backend.startswith("line 1: profiles.a.backend: there is no backend 'slurm'")
    assert rules.startswith("line 3: culling.rules: rules of your own need a Prometheus")
