from __future__ import annotations

import io
import shutil
from datetime import UTC, datetime, timedelta

from cryptography import x509

from headrace.private_files import write_private
from headrace_chassis.tls.certificates import Authority
from headrace_up import log_file
from headrace_up.console import Console
from headrace_up.credentials import ensure_server_certificate
from headrace_up.layout import Layout
from headrace_up.maintenance import Maintenance


def test_a_certificate_near_its_end_is_renewed_while_headrace_runs(layout: Layout):
    files = ensure_server_certificate(layout.tls)
    authority = Authority.load(files.ca.read_bytes(), (layout.tls / "ca.key").read_bytes())
    leaf = authority.issue("localhost", timedelta(days=1), dns_names=("localhost",), client=False)
    write_private(files.key, leaf.key_pem)
    write_private(files.certificate, leaf.cert_pem)
    Maintenance(layout, Console()).run_once()
    renewed = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=400)


def test_logs_are_limited(layout: Layout):
    log = layout.logs / "envoy.log"
    with log.open("wb") as file:
        file.write(b"a line\n" * (log_file.MAX_BYTES // 5))
    Maintenance(layout, Console()).run_once()
    assert log.stat().st_blocks * 512 <= log_file.MAX_BYTES


def test_what_cannot_be_done_is_said_once_and_done_later(layout: Layout):
    ensure_server_certificate(layout.tls)
    away = layout.tls.rename(layout.data / "away")
    layout.tls.write_text("")
    out = io.StringIO()
    maintenance = Maintenance(layout, Console(out=out))
    maintenance.run_once()
    maintenance.run_once()
    assert out.getvalue().count("the certificate of the public port cannot be checked or renewed") == 1
    layout.tls.unlink()
    shutil.move(away, layout.tls)
    maintenance.run_once()
    assert len(out.getvalue().splitlines()) == 1
