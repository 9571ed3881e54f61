"""What holds for all commands: help, completion, errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace.cli.lazy_group import COMMANDS
from headrace.v1.cluster_service_pb2 import ListClustersRequest

from .conftest import Cli


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_help_loads_neither_dask_nor_grpc_nor_any_command():
    code = "import sys\nfrom headrace.cli import main\ntry: main()\nexcept SystemExit: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert "'headrace.cli.lazy_group'" in modules
    for heavy in ("dask", "distributed", "grpc", "google.protobuf", "asyncio", "headrace.cli.clusters"):
        assert f"'{heavy}'" not in modules


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str):
    done = cli(command, "--help")
    assert done.code == 0
    first_words = COMMANDS[command].split(".")[0].split(",")[0][:30]
    assert first_words in " ".join(done.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_is_cut_in_a_terminal_of_80_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str):
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in _with_subcommands(cli, command):
        done = cli(*arguments, "--help")
        assert "Usage: " in done.out
        assert "…" not in done.out, arguments


def _with_subcommands(cli: Cli, *arguments: str) -> Iterator[tuple[str, ...]]:
    yield arguments
    _, found, rest = cli(*arguments, "--help").out.partition("─ Commands ─")
    for line in rest.splitlines() if found else ():
        if name := re.match(r"│ (\w[\w-]*) ", line):
            yield from _with_subcommands(cli, *arguments, name[1])


def test_an_option_is_read_from_its_variable(cli: Cli, headrace: FakeHeadrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_CLUSTERS_LIST_PROFILE", "gpu")
    monkeypatch.setenv("HEADRACE_JSON", "1")
    assert cli("clusters", "list").out.startswith("[")
    [asked] = headrace.requests_of(ListClustersRequest)
    assert asked.filter.profile == "gpu"


@pytest.mark.parametrize("word", ["cl", "do"])
def test_a_shell_completes_commands(word: str):
    done = run(_HEADRACE_COMPLETE="complete_bash", COMP_WORDS=f"headrace {word}", COMP_CWORD="1")
    assert any(name in done.stdout for name in COMMANDS), done.stderr


def test_a_shell_completes_commands_of_a_group():
    done = run(_HEADRACE_COMPLETE="complete_bash", COMP_WORDS="headrace clusters sc", COMP_CWORD="2")
    assert "scale" in done.stdout


def test_version_names_what_it_works_with(cli: Cli):
    out = cli("version").out
    assert metadata.version("headrace") in out
    assert metadata.version("grpcio") in out


def test_an_unknown_command_is_wrong_usage():
    assert run("nonsense").returncode == 2


def test_no_command_is_help():
    assert "clusters" in run().stdout + run().stderr


def test_errors_are_a_line_and_never_a_traceback():
    done = run("clusters", "list", "--address", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("headrace: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_debugging_shows_the_traceback():
    assert "Traceback" in run("clusters", "list", "--address", "nonsense://x", HEADRACE_DEBUG="1").stderr


def test_up_without_the_server_says_what_to_install():
    code = (
        "import sys; sys.modules['headrace_chassis'] = None; sys.argv = ['headrace', 'up']\n"
        "from headrace.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'headrace[server]'" in done.stderr
    assert "Traceback" not in done.stderr
