"""Names and label values of pods. Pure.

Owners, processes and deployments have any name; Kubernetes allows few characters and at most 63 of them. What does not
fit is cut and gets a hash, so that different names stay different.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256

from headrace_controller.backends.process import ProcessKey

LONGEST = 63
_HASH = 12
_PREFIX = "dask-"

_PLAIN_CLUSTER = re.compile(r"[a-z0-9]+")  # no "-": where the cluster ends is certain
_PLAIN_PROCESS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
_HASHED = re.compile(rf".*-x[a-z2-7]{{{_HASH}}}", re.DOTALL)


def pod_name(key: ProcessKey, generation: int) -> str:
    """Returns the name of a process's pod: a DNS label, the same each time.

    A name that is not hashed ends in the number of the generation, a hashed one never does.
    """
    name = f"{_PREFIX}{key.cluster}-{key.process}-{generation}"
    plain = _PLAIN_CLUSTER.fullmatch(key.cluster) and _PLAIN_PROCESS.fullmatch(key.process)
    if plain and len(name) <= LONGEST:
        return name
    return _hashed(name.lower(), f"{key.cluster}\0{key.process}\0{generation}", r"[^a-z0-9-]+")


def label_value(value: str) -> str:
    """Returns a legal label value: the value itself where it is legal, else its legal characters and a hash."""
    if len(value) <= LONGEST and _LABEL_VALUE.fullmatch(value) and not _HASHED.fullmatch(value):
        return value
    return _hashed(value, value, r"[^A-Za-z0-9._-]+")


def _hashed(readable: str, exact: str, illegal: str) -> str:
    digest = b32encode(sha256(exact.encode("utf-8", "surrogatepass")).digest()).decode().lower()[:_HASH]
    room = LONGEST - len("-x") - _HASH
    kept = re.sub(illegal, "-", readable[: 4 * LONGEST]).strip("._-")[:room].rstrip("._-")
    return f"{kept or 'any'}-x{digest}"
