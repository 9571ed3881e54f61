"""Certificates of one authority, and kubeconfigs for them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from processes import run


@dataclass(frozen=True)
class Identities:
    """The authority of a cluster: its files, and the address of the API server that it vouches for."""

    folder: Path
    server: str

    def create_authority(self) -> None:
        (self.folder / "openssl.cnf").write_text("[req]\ndistinguished_name = empty\n[empty]\n")
        self.certificate("ca", "/CN=test-kubernetes", "basicConstraints=critical,CA:TRUE")

    def certificate(self, name: str, subject: str, extension: str = "basicConstraints=critical,CA:FALSE") -> None:
        """Writes NAME.crt and NAME.key."""
        folder = self.folder
        signer = [] if name == "ca" else ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / f"{name}.key"]
        made = ["-subj", subject, "-addext", extension, "-days", "30", "-out", folder / f"{name}.crt"]
        run("openssl", "req", "-x509", "-config", folder / "openssl.cnf", *signer, *key, *made)

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
