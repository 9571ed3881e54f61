"""`headrace up` with fake services: what it prints, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.running import wait_until
from tests.up.processes import find, running

from headrace._target.local_gateway import LocalGateway
from headrace_up.process_tags import kill_all, tagged_processes

StartUp = Callable[..., Any]


def services(data: Path) -> set[int]:
    return {pid for pid, line in running(data).items() if "fake_service" in line}


def test_it_says_where_it_is_and_what_to_type(up: StartUp, data: Path):
    lines = up().read_until("Ctrl-C")
    text = "\n".join(lines)
    assert "https://127.0.0.1:" in text
    assert str(data) in text
    assert "from headrace import Gateway" in text
    assert all(f"{name} " in text for name in ("valkey", "auth", "controller", "proxy", "envoy"))


def test_it_leaves_what_gateway_needs_readable_by_nobody_else(up: StartUp, data: Path):
    one = up()
    one.read_until("Ctrl-C")
    gateway = LocalGateway.read(data)
    assert gateway is not None
    assert gateway.pid == one.process.pid
    assert gateway.running
    assert len(gateway.token) >= 32
    ssl.create_default_context(cafile=gateway.ca_file)
    private = [data / "gateway.json", data / "tls" / "ca.key", *(data / "secrets").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(up: StartUp, data: Path, number: signal.Signals):
    one = up(behaviour="leaves-a-child")
    one.read_until("Ctrl-C")
    one.process.send_signal(number)
    code, text = one.finish()
    assert code == 0, text
    assert "Stopped." in text
    assert not running(data)
    assert LocalGateway.read(data) is None


def test_under_nohup_a_closed_terminal_stops_nothing(up: StartUp):
    one = up(nohup=True)
    one.read_until("Ctrl-C")
    one.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(0.3)
    one.process.send_signal(signal.SIGTERM)
    assert one.finish()[0] == 0


def test_the_directory_of_sockets_goes_with_it(up: StartUp, data: Path):
    one = up()
    one.read_until("Ctrl-C")
    sockets = Path((data / "sockets-directory").read_text().strip())
    assert sockets.is_dir()
    one.process.send_signal(signal.SIGTERM)
    one.finish()
    assert not sockets.exists()


def test_a_service_that_does_not_end_is_killed(up: StartUp, data: Path):
    one = up(behaviour="stubborn")
    one.read_until("Ctrl-C")
    one.process.send_signal(signal.SIGINT)
    assert one.finish()[0] == 0
    assert not running(data)


def test_nothing_is_left_when_the_data_directory_was_removed(up: StartUp, data: Path):
    one = up(behaviour="leaves-a-child")
    one.read_until("Ctrl-C")
    shutil.rmtree(data)
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert not running(data)


def test_a_second_ctrl_c_kills_at_once(up: StartUp, data: Path):
    one = up("--service-seconds", "100", behaviour="stubborn")
    one.read_until("Ctrl-C")
    one.process.send_signal(signal.SIGINT)
    one.read_until("Stopping")
    one.process.send_signal(signal.SIGINT)
    assert one.finish()[0] == 130
    assert not running(data)


def test_ctrl_c_while_starting_stops_too(up: StartUp, data: Path):
    one = up()
    one.read_until("valkey")
    one.process.send_signal(signal.SIGINT)
    assert one.finish()[0] == 0
    assert not running(data)


def test_keep_clusters_leaves_what_the_services_started(up: StartUp, data: Path):
    one = up("--keep-clusters", behaviour="leaves-a-child")
    one.read_until("Ctrl-C")
    one.process.send_signal(signal.SIGINT)
    assert one.finish()[0] == 0
    assert list(running(data).values()) == ["sleep 1000"]
    kill_all(lambda: tagged_processes(data))


def test_a_second_up_on_the_same_directory_names_the_first(up: StartUp):
    first = up()
    first.read_until("Ctrl-C")
    code, text = up().finish()
    assert code == 1
    assert f"process {first.process.pid}" in text
    assert "--data-dir" in text
    assert len(text.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_explained_and_nothing_is_left(up: StartUp, data: Path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, text = up("--port", str(port)).finish()
    assert code == 1
    assert f"port {port} of 127.0.0.1 is taken by pid" in text
    assert "--port" in text
    assert not running(data)


def test_a_directory_that_cannot_be_written_is_explained(up: StartUp, data: Path):
    data.parent.joinpath("file").write_text("")
    code, text = up(data=data.parent / "file" / "below").finish()
    assert code == 1
    assert "cannot be written" in text
    assert "--data-dir" in text


def test_several_users_of_one_account_are_refused_unless_that_is_accepted(up: StartUp, data: Path):
    users = data.parent / "users"
    users.touch()
    code, text = up("--users-file", str(users)).finish()
    assert code == 1
    assert "clusters of all users would run as your operating-system account" in text
    assert "--one-account" in text
    assert "--accounts" in text
    assert not data.exists()
    lines = up("--development").read_until("ONE ACCOUNT")
    assert "Other users log in with: headrace login https://127.0.0.1:" in lines[-2]
    assert "DEVELOPMENT MODE: anyone on this machine can log in" in lines[-3]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--accounts", "pool", "--one-account"), "--accounts and --one-account exclude each other"),
        (("--accounts", "same-name", "--development"), "would run code as any account: use --accounts pool"),
    ],
)
def test_accounts_that_would_separate_nobody_are_refused(
    up: StartUp, data: Path, arguments: tuple[str, ...], reason: str
):
    code, text = up(*arguments).finish()
    assert code == 1
    assert reason in text
    assert not data.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start processes as other accounts")
def test_a_data_directory_that_other_accounts_cannot_reach_is_refused(up: StartUp, data: Path):
    code, text = up("--accounts", "pool").finish()
    assert code == 1
    assert f"because {data.parent} is closed to them" in text


def test_a_directory_of_a_newer_headrace_is_left_alone(up: StartUp, data: Path):
    data.mkdir()
    newer = json.dumps({"layout": 99, "version": "7.0.0"})
    (data / "version.json").write_text(newer)
    code, text = up().finish()
    assert code == 1
    assert "was written by headrace 7.0.0, which is newer than this 0.1.0" in text
    assert (data / "version.json").read_text() == newer


def test_a_damaged_version_file_is_explained(up: StartUp, data: Path):
    data.mkdir()
    (data / "version.json").write_text("{")
    code, text = up().finish()
    assert code == 1
    assert "damaged" in text


def test_everything_but_clusters_ends_with_an_up_that_is_killed(up: StartUp, data: Path):
    first = up(behaviour="leaves-a-child")
    first.read_until("Ctrl-C")
    first.process.kill()
    first.process.communicate()
    gateway = LocalGateway.read(data)
    assert gateway is not None
    assert not gateway.running
    second = up()
    second.read_until("Ctrl-C")
    lines = sorted(line.partition(" ")[2] for line in running(data).values() if "fake_service" in line)
    assert len(lines) == 4, lines
    assert "sleep 1000" in running(data).values()
    second.process.send_signal(signal.SIGTERM)
    assert second.finish()[0] == 0


def test_a_killed_valkey_is_back(up: StartUp, data: Path):
    one = up()
    one.read_until("Ctrl-C")
    os.kill(find(data, "valkey-server"), signal.SIGKILL)
    one.read_until("valkey is back")
    one.process.send_signal(signal.SIGTERM)
    assert one.finish()[0] == 0


def test_a_service_that_keeps_dying_after_the_start_ends_nothing(up: StartUp, data: Path):
    one = up(behaviour="dies-later")
    one.read_until("proxy ended with exit code 3, 4 times in a row; clusters compute on")
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGINT)
    assert one.finish()[0] == 0
    assert not running(data)


def test_a_start_that_fails_leaves_the_clusters_that_it_found(up: StartUp, data: Path):
    first = up(behaviour="leaves-a-child")
    first.read_until("Ctrl-C")
    first.process.kill()
    first.process.communicate()
    code, text = up(behaviour="dies").finish()
    assert code == 1
    assert "the settings are wrong" in text
    assert "clusters that were running compute on; the next `headrace up` adopts them" in text
    assert list(running(data).values()) == ["sleep 1000"]
    kill_all(lambda: tagged_processes(data))


def test_a_service_that_is_never_ready_ends_the_start_with_the_end_of_its_log(up: StartUp, data: Path):
    code, text = up(behaviour="dies").finish(within=60)
    assert code == 1
    assert "proxy ended with exit code 1, 5 times in a row" in text
    assert "the settings are wrong" in text
    assert "Traceback" not in text
    assert not running(data)


def test_token_and_authority_stay_the_same_over_restarts(up: StartUp, data: Path):
    seen: set[tuple[str, bytes]] = set()
    for _ in range(2):
        one = up()
        one.read_until("Ctrl-C")
        gateway = LocalGateway.read(data)
        assert gateway is not None
        seen.add((gateway.token, Path(gateway.ca_file).read_bytes()))
        one.process.send_signal(signal.SIGTERM)
        one.finish()
    assert len(seen) == 1


def test_an_envoy_that_cannot_be_configured_is_explained(up: StartUp, data: Path):
    code, text = up(behaviour="no-bootstrap").finish()
    assert code == 1
    assert "Envoy cannot be configured:\nheadrace proxy: the certificate is wrong" in text
    assert not running(data)


def test_envoy_is_replaced_on_request(up: StartUp, data: Path):
    one = up()
    one.read_until("Ctrl-C")
    before = services(data)
    one.process.send_signal(signal.SIGUSR2)
    one.read_until("envoy was replaced within")
    wait_until(lambda: before < services(data))  # the Envoy before ends when it is told to
    wait_until(lambda: "asked for a redial" in (data / "logs" / "proxy.log").read_text())
    one.process.send_signal(signal.SIGTERM)
    assert one.finish()[0] == 0


def test_an_envoy_whose_new_configuration_is_wrong_runs_on_with_the_old_one(up: StartUp, data: Path):
    one = up(behaviour="bootstrap-once")
    one.read_until("Ctrl-C")
    one.process.send_signal(signal.SIGUSR2)
    one.read_until("envoy runs on as it is: Envoy cannot be configured:")
    one.read_until("headrace proxy: the certificate is wrong")
    assert (data / "proxy" / "bootstrap.json").read_text() == "a bootstrap"
