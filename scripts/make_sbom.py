"""Says what is in our images: one CycloneDX document for each, in dist/.

The Python distributions are listed by CycloneDX's own tool, from what is installed in the image's layers; Debian's
packages from what the images keep in /var/lib/dpkg/status.d. Needs root, as building the images does.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tempfile
from email import message_from_string
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOOL = ROOT / ".venv-sbom" / "bin" / "cyclonedx-py"
IMAGES = ("headrace", "headrace-dask")
sys.path.insert(0, str(ROOT))


def python_components(folders: list[Path]) -> dict[str, Any]:
    """Returns the tool's document about the distributions in folders of site-packages."""
    path = ":".join(str(folder) for folder in folders)
    with tempfile.TemporaryDirectory() as scratch:
        # The tool asks an interpreter for its path; this one sees the layers and nothing of the environment.
        interpreter = Path(scratch) / "python"
        interpreter.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} -S "$@"\n')
        interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
        command = [TOOL, "environment", "-S", "--output-reproducible", interpreter]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def debian_components(system: Path) -> list[dict[str, str]]:
    """Returns the Debian packages of a layer."""
    components: list[dict[str, str]] = []
    for file in sorted((system / "var/lib/dpkg/status.d").iterdir()):
        package = message_from_string(file.read_text())
        name, version = package["Package"], package["Version"]
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={package['Architecture']}"
        components.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl})
    return components


def main() -> None:
    """Builds what is missing and writes the documents."""
    from tests.kubernetes import images

    (ROOT / "dist").mkdir(exist_ok=True)
    images.CACHE.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        layers = images.images()[name].layers
        for layer in layers:
            layer.build()
        system, *python = (layer.folder for layer in layers)
        document = python_components([folder / images.SITE for folder in python])
        document["components"] = [*document.get("components", []), *debian_components(system)]
        document.setdefault("metadata", {})["component"] = {"type": "container", "name": name, "bom-ref": name}
        file = ROOT / "dist" / f"{name}.cdx.json"
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(f"{file.relative_to(ROOT)}: {len(document['components'])} components")


if __name__ == "__main__":
    main()
