"""An API server and an etcd of a test's own, which keep pods and run none, and can go back in time."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.held_port import held_ports
from tests.kubernetes.running import BINARIES, Kubernetes, until

_TOKEN = "administrator"


class ControlPlane(Kubernetes):
    """Runs in a folder, on three ports: etcd's for clients and for its peers, and the API server's."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        super().__init__(folder / "kubeconfig")
        self._folder = folder
        self._data, self._kept = folder / "etcd", folder / "back-up"
        self._ports = ports
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._write_files()

    def start(self) -> None:
        """Returns when the API server is ready."""
        self._start_etcd()
        self._run_program(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._ports[0]}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports[2]}",
            f"--cert-dir={self._folder}",
            f"--token-auth-file={self._folder}/tokens",
            "--authorization-mode=AlwaysAllow",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.test",
            f"--service-account-key-file={self._folder}/key",
            f"--service-account-signing-key-file={self._folder}/key",
        )
        until(lambda: self.kubectl("get", "--raw", "/readyz") == "ok", "the API server is ready")

    def stop(self) -> None:
        for name in ("kube-apiserver", "etcd"):
            self._stop(name)

    def back_up(self) -> None:
        """Keeps what etcd has now."""
        self._stop("etcd")
        shutil.copytree(self._data, self._kept)
        self._start_etcd()

    def restore(self) -> None:
        """Has only what was kept."""
        self.stop()
        shutil.rmtree(self._data)
        shutil.move(self._kept, self._data)
        self.start()

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[:2])
        self._run_program(
            "etcd",
            f"--data-dir={self._data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        until(lambda: _answers(f"{client}/health"), "etcd is ready")

    def _run_program(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen([BINARIES / name, *arguments], stdout=log, stderr=log)

    def _stop(self, name: str) -> None:
        if program := self._programs.pop(name, None):
            program.kill()
            program.wait()

    def _write_files(self) -> None:
        (self._folder / "tokens").write_text(f"{_TOKEN},administrator,1,system:masters\n")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self._folder / "key").write_bytes(pem)
        server = {"server": f"https://127.0.0.1:{self._ports[2]}", "insecure-skip-tls-verify": True}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "test", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(content))


@contextmanager
def control_plane(folder: Path) -> Generator[ControlPlane]:
    with held_ports(3) as ports:
        plane = ControlPlane(folder, ports)
        try:
            plane.start()
            plane.kubectl("create", "serviceaccount", "default")  # as the controllers do, which do not run
            yield plane
        finally:
            plane.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False
