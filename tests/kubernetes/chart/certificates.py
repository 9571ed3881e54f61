"""Certificates that cert-manager issues for a release, and those that its servers show."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from tests.kubernetes.chart.installation import RELEASE, Installation
from tests.kubernetes.running import Kubernetes, until

from headrace_chassis.tls.certificates import Authority

AUTHORITY = "authority"
# Where the proxy's pod reaches each server, and by which name where that is not the host's.
SERVERS = {
    "auth": (f"{RELEASE}-auth", 50051),
    "controller": (f"{RELEASE}-controller", 50051),
    "public": ("127.0.0.1", 8443),
}
SHOW = """
import json, socket, ssl, sys

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
for host, port, name in json.loads(sys.argv[1]):
    with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain, server_hostname=name) as open:
        print(open.getpeercert(True).hex())
"""


@dataclass(frozen=True)
class Certificates:
    """Those of a release that has them from cert-manager, by their components; `public` is for the host."""

    installation: Installation
    host: str

    def issued(self) -> dict[str, int]:
        """Serial number of the certificate in each server's Secret."""
        return {name: self._serial(name) for name in SERVERS}

    def served(self) -> dict[str, int]:
        """Serial number of the certificate that each server shows now."""
        asked = [(*place, self.host if name == "public" else place[0]) for name, place in SERVERS.items()]
        proxy = ("exec", f"deploy/{RELEASE}-proxy", "-c", "proxy", "--", "python3", "-c", SHOW, json.dumps(asked))
        shown = map(bytes.fromhex, self.installation.kubectl(*proxy).split())
        serials = [x509.load_der_x509_certificate(each).serial_number for each in shown]
        return dict(zip(SERVERS, serials, strict=True))

    def renew(self) -> None:
        """Has the authority renewed, then all that it and others have signed, as `cmctl renew` asks for it."""
        found = self.installation.get("certificates.cert-manager.io")["items"]
        names = {each["metadata"]["name"].removeprefix(f"{RELEASE}-") for each in found}
        assert names == {AUTHORITY, "auth", "controller", "proxy", "public"}
        self._renew(AUTHORITY)
        for name in sorted(names - {AUTHORITY}):
            self._renew(name)

    def _renew(self, name: str) -> None:
        before = self._serial(name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": now}
        patch = json.dumps([{"op": "add", "path": "/status/conditions/-", "value": condition}])
        what = ("certificates.cert-manager.io", f"{RELEASE}-{name}", "--subresource=status", "--type=json")
        self.installation.kubectl("patch", *what, "-p", patch)
        until(lambda: self._serial(name) != before, f"the certificate of {name} is renewed")

    def _serial(self, name: str) -> int:
        secret = "cert-manager-authority" if name == AUTHORITY else f"{name}-tls"
        pem = base64.b64decode(self.installation.secret(secret)["tls.crt"])
        return x509.load_pem_x509_certificate(pem).serial_number


@contextmanager
def cluster_issuer(kubernetes: Kubernetes, name: str, authority: Authority, place: str) -> Generator[str]:
    """An issuer for all namespaces that signs with the authority, which it finds in cert-manager's namespace."""
    files = {"tls.crt": authority.cert_pem.decode(), "tls.key": authority.key_pem.decode()}
    metadata = {"name": name, "namespace": place}
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": name}}
    kubernetes.apply(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "stringData": files},
        {**issuer, "spec": {"ca": {"secretName": name}}},
    )
    try:
        yield name
    finally:
        kubernetes.kubectl("delete", "clusterissuer", name, "--wait=false")
        kubernetes.kubectl("delete", "secret", name, "-n", place, "--ignore-not-found")
