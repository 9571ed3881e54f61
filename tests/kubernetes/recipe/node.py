"""A node that really runs pods: a kubelet and a containerd of its own, with their files in one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from identities import Identities
from processes import Process, end, inside, run, start, wait_until

GROUPS = Path("/sys/fs/cgroup")
# What the pods of a small node may use together, and what they cannot use without that somebody is evicted.
SMALL, SPARE = 3 << 30, 1 << 30


@dataclass(frozen=True)
class Node:
    """A node. All share one network namespace; each has a bridge and addresses of its own for its pods.

    Attributes
    ----------
    folder
        Its files. Each socket is here, so the path is short.
    address
        Its own; one that the network namespace has.
    pods
        Addresses of its pods.
    bridge
        What its pods are attached to.
    group
        Its cgroup, empty for the root.
    taint
        What pods must tolerate there, empty if nothing. A node with a taint is small: its pods share 3 GiB, and the
        kubelet evicts pods while less than 1 GiB of that are free.
    """

    name: str
    folder: Path
    binaries: Path
    address: str
    pods: str
    bridge: str
    group: str = ""
    taint: str = ""

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def kubepods(self) -> str:
        return f"{self.group}/kubepods".lstrip("/")

    def start(self, identities: Identities, dns: str, domain: str) -> None:
        """Starts it; returns once its containerd answers. The kubelet becomes ready later."""
        for folder in ("log", "pid", "cni", "images"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        self._start_containerd()
        if self.group:
            for controller in GROUPS.iterdir():
                (controller / self.group).mkdir(exist_ok=True)
        names = f"subjectAltName=DNS:{self.name},IP:{self.address}"
        identities.certificate(self.name, f"/O=system:nodes/CN=system:node:{self.name}", names)
        kubeconfig = identities.kubeconfig(self.name)
        (self.folder / "resolv.conf").write_text("")
        settings = self._kubelet_settings(identities.folder, dns, domain)
        (self.folder / "kubelet.json").write_text(json.dumps(settings))
        self._run(
            "kubelet",
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder}/kubelet",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
        )

    def _start_containerd(self) -> None:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        (self.folder / "containerd.toml").write_text(f"""version = 2
root = "{self.folder}/containerd"
state = "{self.folder}/containerd-state"
[grpc]
address = "{self.socket}"
[{cri}]
sandbox_image = "localhost/pause:test"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.folder}/cni"
""")
        addresses = {
            "type": "host-local",
            "dataDir": f"{self.folder}/addresses",
            "ranges": [[{"subnet": self.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": self.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
        (self.folder / "cni" / "pods.conflist").write_text(json.dumps(network))
        self._run("containerd", "--config", self.folder / "containerd.toml")
        wait_until(f"containerd of {self.name} ready", lambda: run(*self._ctr("images", "list"), check=False) != "")
        pause = self.folder / "images" / "pause.tar"
        if not pause.exists():
            root = self.folder / "images" / "pause"
            root.mkdir(exist_ok=True)
            shutil.copy(self.binaries / "pause", root / "pause")
            image = Path(__file__).with_name("image.py")
            run(sys.executable, image, "localhost/pause:test", pause, root, "--entrypoint", "/pause")
            self.load(pause)

    def _kubelet_settings(self, pki: Path, dns: str, domain: str) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "healthzBindAddress": self.address,
            "authentication": {"x509": {"clientCAFile": f"{pki}/ca.crt"}},
            "tlsCertFile": f"{pki}/{self.name}.crt",
            "tlsPrivateKeyFile": f"{pki}/{self.name}.key",
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.group}",
            "failCgroupV1": False,
            "oomScoreAdj": 0,
            "clusterDNS": [dns],
            "clusterDomain": domain,
            "resolvConf": f"{self.folder}/resolv.conf",
            "podLogsDir": f"{self.folder}/pod-logs",
            "volumePluginDir": f"{self.folder}/volume-plugins",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "syncFrequency": "10s",  # what changes in Secrets and ConfigMaps is in volumes as soon
        }
        if self.taint:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            settings |= {
                "registerWithTaints": [{"key": self.taint, "effect": "NoSchedule"}],
                "systemReserved": {"memory": str(memory - SMALL)},
                "evictionHard": {**settings["evictionHard"], "memory.available": str(SPARE)},
                "evictionPressureTransitionPeriod": "1s",
            }
        return settings

    # Use

    def load(self, archive: Path) -> None:
        """Gives it an image that image.py wrote."""
        run(*self._ctr("images", "import", str(archive)))

    def copy_image(self, name: str, source: Node) -> None:
        """Has it the image that another node has."""
        if self._digest(name) == source._digest(name):
            return
        with subprocess.Popen(source._ctr("images", "export", "-", name), stdout=subprocess.PIPE) as export:
            subprocess.run(self._ctr("images", "import", "-"), stdin=export.stdout, check=True, capture_output=True)

    def _digest(self, name: str) -> str:
        lines = run(*self._ctr("images", "list", f"name=={name}")).splitlines()[1:]
        return lines[0].split()[2] if lines else ""

    @property
    def runs(self) -> bool:
        return (self.folder / "pid" / "kubelet.json").exists()

    def _ctr(self, *arguments: str) -> list[str]:
        return ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]

    def _run(self, name: str, *arguments: str | Path) -> None:
        start(self.folder, name, self.binaries, *arguments)

    # End

    def lose_power(self) -> None:
        """Ends it as a machine that loses power: from outside, nothing of it says anything any more."""
        for match in (("PREROUTING", "-d"), ("PREROUTING", "-s"), ("OUTPUT", "-d")):
            run(*inside("iptables", *self._silence("-I", *match)))
        for name in ("kubelet", "containerd"):
            end(self.folder, name, kill=True)
        for process in [*self._contained(), *self._shims()]:
            process.kill()
        self.clean()
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "containerd-state", ignore_errors=True)  # as it is on tmpfs elsewhere

    def restore_power(self) -> None:
        """Takes the silence of `lose_power` back."""
        for match in (("PREROUTING", "-d"), ("PREROUTING", "-s"), ("OUTPUT", "-d")):
            run(*inside("iptables", *self._silence("-D", *match)), check=False)

    def _silence(self, action: str, chain: str, side: str) -> list[str]:
        return ["-w", "-t", "raw", action, chain, side, self.pods, "-j", "DROP"]

    def end(self) -> None:
        """Ends all its processes."""
        end(self.folder, "kubelet")
        for process in [*self._contained(), *self._shims()]:
            process.end(patience=0)
        end(self.folder, "containerd")
        self.clean()

    def clean(self) -> None:
        """Takes back mounts and cgroups, which nothing uses any more."""
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed(mounted):
            if place.startswith(f"{self.folder}/"):
                run("umount", "--lazy", place, check=False)
        for group in GROUPS.glob(f"*/{self.group or 'kubepods'}"):
            for folder, _, _ in os.walk(group, topdown=False):
                with suppress(FileNotFoundError):  # the parents of the containers take theirs back, too
                    Path(folder).rmdir()

    def _contained(self) -> Iterator[Process]:
        """The processes in the pods: the node keeps each in a cgroup below kubepods."""
        for group in (GROUPS / "memory" / self.kubepods).glob("**/cgroup.procs"):
            with suppress(OSError):  # its container has ended since
                yield from [Process.of(int(pid)) for pid in group.read_text().split()]

    def _shims(self) -> Iterator[Process]:
        """The parents of the containers, started by containerd: each names its socket."""
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = command.read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"containerd-shim" in words[0] and str(self.socket).encode() in words:
                yield Process.of(int(command.parent.name))
