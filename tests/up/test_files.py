"""What embedded mode keeps: certificates, secrets, sockets, logs, pid files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from headrace_chassis.identity.seal import read_deployment_keys
from headrace_up import log_file, pid_files
from headrace_up.claim import claimed
from headrace_up.deployment_secrets import ensure_bootstrap_token, ensure_deployment_key
from headrace_up.failure import CannotRun
from headrace_up.layout import Layout, make_layout
from headrace_up.port import free_port
from headrace_up.server_certificate import ensure_server_certificate


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


def test_the_bootstrap_token_is_kept_for_its_user_only(tmp_path: Path):
    _, ann = ensure_bootstrap_token(tmp_path, "ann")
    assert ensure_bootstrap_token(tmp_path, "ann")[1] == ann
    assert ensure_bootstrap_token(tmp_path, "bob")[1].secret != ann.secret
    assert ann.secret not in repr(ann)


def test_a_damaged_bootstrap_token_is_told(tmp_path: Path):
    (tmp_path / "bootstrap-token.json").write_text("[]")
    with pytest.raises(CannotRun, match="remove it"):
        ensure_bootstrap_token(tmp_path, "ann")


def test_socket_paths_stay_short_however_long_the_data_directory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    layout = make_layout(tmp_path / ("d" * 200))
    assert len(str(layout.socket("controller-internal"))) < 100
    layout.sockets.rmdir()


def test_the_sockets_place_is_kept_when_the_environment_changes(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert make_layout(layout.data).sockets == layout.sockets


def test_a_sockets_directory_open_to_others_is_refused(layout: Layout):
    layout.sockets.chmod(0o755)
    with pytest.raises(CannotRun, match="open to others"):
        make_layout(layout.data)


def test_a_claim_tells_whether_the_run_before_it_was_killed(layout: Layout):
    with claimed(layout, "0.1.0") as after_crash:
        assert not after_crash
    layout.lock.write_text("12345\n")
    with claimed(layout, "0.1.0") as after_crash:
        assert after_crash
    with claimed(layout, "0.1.0") as after_crash:
        assert not after_crash


def test_a_port_out_of_range_is_told():
    with pytest.raises(CannotRun, match="65535"):
        free_port(70000)


@pytest.fixture
def sleeper() -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_a_pid_file_names_a_process_for_good(tmp_path: Path, sleeper: subprocess.Popen[bytes]):
    path = tmp_path / "auth.json"
    pid_files.remember(path, sleeper.pid)
    assert pid_files.recall(path) == pid_files.Process.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert pid_files.recall(path) is None
    path.write_text("{}")
    assert pid_files.recall(path) is None


def test_a_pid_that_another_process_has_got_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]):
    path = tmp_path / "auth.json"
    process = pid_files.Process.of(sleeper.pid)
    assert process is not None
    path.write_text(f'{{"pid": {process.pid}, "start_ticks": {process.start_ticks - 1}, "boot": "{process.boot}"}}')
    assert pid_files.end_remembered(tmp_path) == []
    assert sleeper.poll() is None


def test_logs_are_rotated_and_the_oldest_dropped(tmp_path: Path):
    path = tmp_path / "auth.log"
    for number in range(6):
        path.write_text(str(number))
        log_file.rotate(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["auth.log.1", "auth.log.2", "auth.log.3"]
    assert path.with_name("auth.log.1").read_text() == "5"


def test_a_log_that_has_grown_is_cut_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_file, "LARGEST", 10)
    path = tmp_path / "auth.log"
    descriptor = log_file.open_log(path)
    os.write(descriptor, b"before it was cut\n")
    log_file.cut_grown([path])
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert path.read_bytes() == b"after\n"
    assert path.with_name("auth.log.1").read_bytes() == b"before it was cut\n"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path):
    path = tmp_path / "auth.log"
    path.write_text("\n".join(map(str, range(100))))
    assert log_file.tail(path, lines=2) == "98\n99"
    assert log_file.tail(tmp_path / "none.log") == ""
