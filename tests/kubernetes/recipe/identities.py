"""Certificates of one authority, and kubeconfigs for them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from processes import run

_DATE = "%Y%m%d%H%M%SZ"
_SIGNING = """
[ca]
default_ca = signing
[signing]
database = {folder}/{name}.index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
preserve = yes
policy = subject
x509_extensions = extensions
[subject]
organizationName = optional
commonName = supplied
[extensions]
{extension}
"""


@dataclass(frozen=True)
class Identities:
    """The authority of a cluster: its files, and the address of the API server that it vouches for."""

    folder: Path
    server: str

    def create_authority(self) -> None:
        (self.folder / "request.cnf").write_text("[req]\ndistinguished_name = empty\n[empty]\n")
        self.certificate("ca", "/CN=test-kubernetes", "basicConstraints=critical,CA:TRUE")

    def certificate(self, name: str, subject: str, extension: str = "basicConstraints=critical,CA:FALSE") -> None:
        """Writes NAME.crt and NAME.key; valid since an hour, as clocks may be wrong."""
        folder, request = self.folder, self.folder / f"{name}.csr"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / f"{name}.key"]
        run("openssl", "req", "-new", "-config", folder / "request.cnf", *key, "-subj", subject, "-out", request)
        (folder / f"{name}.index").write_text("")  # of what was signed: openssl wants one
        (folder / f"{name}.cnf").write_text(_SIGNING.format(folder=folder, name=name, extension=extension))
        begin = datetime.now(UTC) - timedelta(hours=1)
        dates = ["-startdate", f"{begin:{_DATE}}", "-enddate", f"{begin + timedelta(days=30):{_DATE}}"]
        signer = ["-selfsign"] if name == "ca" else ["-cert", folder / "ca.crt"]
        files = ["-keyfile", folder / "ca.key", "-in", request, "-out", folder / f"{name}.crt"]
        run("openssl", "ca", "-batch", "-notext", "-config", folder / f"{name}.cnf", *dates, *signer, *files)

    def kubeconfig(self, name: str) -> Path:
        """Writes NAME.json, a kubeconfig with the certificate of that name."""
        user = {"client-certificate-data": self._encoded(name, "crt"), "client-key-data": self._encoded(name, "key")}
        server = {"server": self.server, "certificate-authority-data": self._encoded("ca", "crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        written = self.folder / f"{name}.json"
        written.write_text(json.dumps(config))
        return written

    def _encoded(self, name: str, kind: str) -> str:
        return base64.b64encode((self.folder / f"{name}.{kind}").read_bytes()).decode()
