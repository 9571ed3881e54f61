"""What `headrace up` keeps: certificates, secrets, sockets, logs."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from tests.held_port import held_ports

from headrace_auth.model import is_user_id
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_up import log_file
from headrace_up.claim import claimed
from headrace_up.credentials import account_user, ensure_deployment_key, ensure_server_certificate, ensure_token
from headrace_up.errors import CannotRun
from headrace_up.layout import Layout, make_layout
from headrace_up.port import hold_port
from headrace_up.process_tags import VARIABLE


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_server_certificate_is_for_this_machine_and_signed_by_its_own_authority(tmp_path: Path):
    files = ensure_server_certificate(tmp_path)
    names = load(files.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    load(files.certificate).verify_directly_issued_by(load(files.ca))


def test_a_good_certificate_is_kept(tmp_path: Path):
    first = ensure_server_certificate(tmp_path).certificate.read_bytes()
    assert ensure_server_certificate(tmp_path).certificate.read_bytes() == first


def test_a_certificate_near_its_end_is_renewed_and_the_authority_kept(tmp_path: Path):
    before = ensure_server_certificate(tmp_path)
    ca, certificate = before.ca.read_bytes(), before.certificate.read_bytes()
    after = ensure_server_certificate(tmp_path, datetime.now(UTC) + timedelta(days=700))
    assert after.ca.read_bytes() == ca
    assert after.certificate.read_bytes() != certificate


def test_an_authority_near_its_end_is_renewed_with_all_it_signed(tmp_path: Path):
    ca = ensure_server_certificate(tmp_path).ca.read_bytes()
    files = ensure_server_certificate(tmp_path, datetime.now(UTC) + timedelta(days=3500))
    assert files.ca.read_bytes() != ca
    load(files.certificate).verify_directly_issued_by(load(files.ca))


def test_a_damaged_certificate_is_replaced(tmp_path: Path):
    ensure_server_certificate(tmp_path).certificate.write_text("damaged")
    load(ensure_server_certificate(tmp_path).certificate)


def test_the_deployment_key_is_one_that_services_read(tmp_path: Path):
    path = ensure_deployment_key(tmp_path)
    assert len(read_deployment_keys(path)) == 1
    assert ensure_deployment_key(tmp_path).read_bytes() == path.read_bytes()


def test_the_token_is_kept_for_its_user_only(tmp_path: Path):
    ann = ensure_token(tmp_path, "ann")
    assert ensure_token(tmp_path, "ann") == ann
    assert ensure_token(tmp_path, "bob").secret != ann.secret
    assert ann.secret not in repr(ann)


@pytest.mark.parametrize("name", ["ann", "ACME\\ann", "ann/bob", "ann bob", "-", "..", "ann@example.org", "jürgen"])
def test_the_name_of_any_account_becomes_a_user_id(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("LOGNAME", name)
    assert is_user_id(account_user())
    assert account_user() == name or not is_user_id(name)


def test_a_damaged_token_is_explained(tmp_path: Path):
    (tmp_path / "bootstrap-token.json").write_text("[]")
    with pytest.raises(CannotRun, match="remove it"):
        ensure_token(tmp_path, "ann")


def test_socket_paths_stay_short_however_long_the_data_directory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    layout = make_layout(tmp_path / ("d" * 200))
    assert len(str(layout.socket("controller-internal"))) < 100
    layout.sockets.rmdir()


def test_the_directory_of_sockets_is_kept_when_the_environment_changes(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert make_layout(layout.data).sockets == layout.sockets


def test_a_sockets_directory_open_to_others_is_refused(layout: Layout):
    layout.sockets.chmod(0o755)
    with pytest.raises(CannotRun, match="open to others"):
        make_layout(layout.data)


STRANGER = 65534


@pytest.fixture
def foreign() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make files of another user")


@pytest.mark.usefixtures("foreign")
def test_a_data_directory_of_another_user_is_refused(tmp_path: Path):
    os.chown(tmp_path, STRANGER, STRANGER)
    mode = tmp_path.stat().st_mode
    with pytest.raises(CannotRun, match=f"belongs to user id {STRANGER}, not to you"):
        make_layout(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mode == mode


@pytest.mark.usefixtures("foreign")
def test_a_link_to_or_of_another_user_is_refused(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    os.lchown(link, STRANGER, STRANGER)
    with pytest.raises(CannotRun, match="not to you"):
        make_layout(link)
    os.lchown(link, 0, 0)
    os.chown(target, STRANGER, STRANGER)
    with pytest.raises(CannotRun, match="not to you"):
        make_layout(link)


def test_the_users_own_link_is_followed_once(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    layout = make_layout(link)
    assert layout.data == target
    layout.sockets.rmdir()


def test_an_empty_directory_is_closed_to_others_and_one_that_others_could_fill_is_refused(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    make_layout(data).sockets.rmdir()
    assert data.stat().st_mode & 0o777 == 0o700
    data.chmod(0o770)
    with pytest.raises(CannotRun, match="can be changed by other users"):
        make_layout(data)


@pytest.mark.parametrize("name", ["secrets/deployment.key", "tls/ca.key", "version.json", "lock", "sockets-directory"])
def test_a_file_that_others_could_write_is_refused(layout: Layout, name: str):
    path = layout.data / name
    path.touch()
    path.chmod(0o606)
    with pytest.raises(CannotRun, match=f"{name} can be changed by other users"):
        make_layout(layout.data)


@pytest.mark.parametrize("name", ["secrets", "tls", "valkey", "proxy", "secrets/deployment.key"])
def test_a_link_inside_the_data_directory_is_refused(layout: Layout, tmp_path: Path, name: str):
    path = layout.data / name
    if path.is_dir():
        path.rmdir()
    path.symlink_to(tmp_path)
    with pytest.raises(CannotRun, match=f"{name} is a link"):
        make_layout(layout.data)


def test_a_directory_that_a_killed_headrace_had_claimed_can_be_claimed(layout: Layout):
    layout.lock.write_text("12345\n")
    with claimed(layout, "0.1.0"):
        assert layout.lock.read_text() == f"{os.getpid()}\n"
    assert layout.lock.read_text() == ""


async def test_a_port_out_of_range_is_explained(tmp_path: Path):
    with pytest.raises(CannotRun, match="65535"):
        await hold_port(70000, tmp_path)


async def test_a_port_that_is_taken_is_explained_with_the_program_that_has_it(tmp_path: Path, port: int):
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(CannotRun, match=rf"port {port} of 127.0.0.1 is taken by pid {os.getpid()} \("),
    ):
        await hold_port(port, tmp_path)
    with await hold_port(port, tmp_path) as held:
        assert held.getsockname()[1] == port


IP_LOCAL_PORT_RANGE = 51  # of <linux/in.h>

LISTEN = "import socket, signal, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True)"


@pytest.fixture
def port() -> Generator[int]:
    """A port that nobody else is given when a test has left it."""
    with held_ports(1) as (held,):
        yield held


@pytest.fixture(params=[True, False], ids=["tagged", "without an environment"])
def holder(tmp_path: Path, port: int, request: pytest.FixtureRequest) -> Generator[subprocess.Popen[bytes]]:
    """An Envoy of this data directory, or any process whose end has begun."""
    program = [sys.executable, "-S", "-c", f"{LISTEN}; signal.pause()", str(port)]
    own = {VARIABLE: str(tmp_path)} if request.param else {}
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=own) as process:
        yield process
        process.kill()


async def test_a_port_that_an_ending_process_has_is_waited_for(
    tmp_path: Path, port: int, holder: subprocess.Popen[bytes]
):
    assert holder.stdout is not None
    assert holder.stdout.readline()
    waiting = asyncio.create_task(hold_port(port, tmp_path))
    await asyncio.sleep(0)
    assert not waiting.done()
    holder.kill()
    with await waiting as held:
        assert held.getsockname()[1] == port


@pytest.fixture
def only() -> Generator[Callable[[int], socket.socket]]:
    """Makes sockets whose "any free port" is a certain one."""
    with ExitStack() as stack:

        def make(port: int) -> socket.socket:
            made = stack.enter_context(socket.socket())
            try:
                made.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
            except OSError:
                pytest.skip("NOT TESTED: only since Linux 6.3 can a test choose which ports are given away")
            return made

        yield make


async def test_a_port_that_is_held_is_given_to_nobody_and_envoy_listens_on_it(
    tmp_path: Path, only: Callable[[int], socket.socket]
):
    with await hold_port(0, tmp_path) as held, socket.create_server(("127.0.0.1", 0)) as server:
        port = held.getsockname()[1]
        for reuse in (0, 1):
            stranger = only(port)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            with pytest.raises(OSError, match="in use"):
                stranger.bind(("127.0.0.1", 0))
        assert only(port).connect_ex(server.getsockname()) == errno.EADDRNOTAVAIL
        with socket.create_server(("127.0.0.1", port)) as envoy:
            assert envoy.getsockname()[1] == port


def test_logs_are_rotated_and_the_oldest_dropped(tmp_path: Path):
    path = tmp_path / "auth.log"
    for number in range(6):
        path.write_text(str(number))
        log_file.rotate(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["auth.log.1", "auth.log.2", "auth.log.3"]
    assert path.with_name("auth.log.1").read_text() == "5"


def test_a_log_that_cannot_be_written_or_rotated_is_no_error(tmp_path: Path):
    path = tmp_path / "file" / "auth.log"
    path.parent.write_text("")
    log_file.rotate(path)
    descriptor = log_file.open_log(path)
    os.write(descriptor, b"discarded\n")
    os.close(descriptor)


def test_all_logs_are_limited_while_they_are_written(layout: Layout):
    parts = ("envoy", "valkey", "auth")
    writers = [log_file.open_log(layout.logs / f"{name}.log") for name in parts]
    for writer in writers:
        os.posix_fallocate(writer, 0, log_file.MAX_BYTES + (1 << 20))
        os.write(writer, b"the last line\n")
    log_file.limit_all(layout.logs)
    for name, writer in zip(parts, writers, strict=True):
        assert os.fstat(writer).st_blocks * 512 <= log_file.MAX_BYTES
        assert log_file.tail(layout.logs / f"{name}.log").endswith("the last line")
        os.close(writer)
    assert len(list(layout.logs.iterdir())) == len(parts)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path):
    path = tmp_path / "auth.log"
    path.write_text("\n".join(map(str, range(100))))
    assert log_file.tail(path, lines=2) == "98\n99"
    assert log_file.tail(tmp_path / "none.log") == ""


def test_the_tail_of_a_log_does_not_control_the_terminal(tmp_path: Path):
    path = tmp_path / "auth.log"
    path.write_text("by \x1b]0;jürgen\x07\x9b2J\n\tat noon\n")
    assert log_file.tail(path) == "by ?]0;jürgen??2J\n\tat noon"
