"""Paths of one `headrace up`: a data directory, and a directory with a short name for unix sockets."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from headrace_up.errors import CannotRun

LONGEST_SOCKET_PATH = 100  # the kernel allows 107 bytes; some parts add suffixes of their own


@dataclass(frozen=True)
class Layout:
    """The paths of one data directory."""

    data: Path
    sockets: Path

    @property
    def lock(self) -> Path:
        return self.data / "lock"

    @property
    def version(self) -> Path:
        return self.data / "version.json"

    @property
    def tls(self) -> Path:
        return self.data / "tls"

    @property
    def secrets(self) -> Path:
        return self.data / "secrets"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def valkey(self) -> Path:
        return self.data / "valkey"

    @property
    def local(self) -> Path:
        return self.data / "local"

    @property
    def proxy(self) -> Path:
        return self.data / "proxy"

    def socket(self, name: str) -> Path:
        """Path of a unix socket."""
        return self.sockets / f"{name}.sock"

    def target(self, name: str) -> str:
        """GRPC target of a unix socket."""
        return f"unix:{self.socket(name)}"


def make_layout(data: Path, *, reachable: bool = False) -> Layout:
    """Create all directories. The directory of the sockets stays the same, so that clusters that were kept find it.

    If `reachable`, other accounts can pass through to what is open to them; they can list nothing.
    """
    data = _make_data_directory(data)
    note = data / "sockets-directory"
    for path in (note, data / "lock", data / "version.json"):
        check_own(path)
    layout = Layout(data, _sockets_directory(data, note, reachable=reachable))
    for directory in (layout.tls, layout.secrets, layout.logs, layout.valkey, layout.proxy, layout.local):
        directory.mkdir(exist_ok=True, mode=0o700)
        check_own(directory)
    for path in (*layout.tls.iterdir(), *layout.secrets.iterdir()):
        check_own(path)
    if reachable:
        for directory in (layout.data, layout.sockets, layout.tls):
            directory.chmod(0o711)
    return layout


def check_own(path: Path) -> None:
    """Refuse a file or a directory that another user may have written; a missing one is fine."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != os.getuid():
        raise CannotRun(f"{path} belongs to user id {found.st_uid}, not to you: choose another --data-dir, or chown it")
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise CannotRun(f"{path} is a link or a special file: remove it, then start again")
    if found.st_mode & 0o022:
        raise CannotRun(f"{path} can be changed by other users: check what it contains, then chmod go-w it")


def _make_data_directory(data: Path) -> Path:
    data = data.expanduser().absolute()
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = _follow_own_link(data)
        if not any(data.iterdir()) and data.stat().st_uid == os.getuid():
            data.chmod(0o700)
        check_own(data)
        data.chmod(0o700)
        probe = data / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotRun(
            f"the data directory {data} cannot be written ({error.strerror}): "
            "choose another one with --data-dir or HEADRACE_DATA_DIR"
        ) from error
    return data


def _follow_own_link(data: Path) -> Path:
    """Return where the user's own link leads; what another user's link leads to may change at any time."""
    if data.is_symlink() and data.lstat().st_uid != os.getuid():
        check_own(data)
    return data.resolve()


def _sockets_directory(data: Path, note: Path, *, reachable: bool) -> Path:
    if note.exists():
        directory = Path(note.read_text().strip())
        if directory.parent.is_dir() and _is_short(directory) and (not reachable or _is_open(directory.parent)):
            return _make_private(directory)
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    directory = Path(runtime) / f"headrace-{name}"
    if reachable or not (runtime and os.access(runtime, os.W_OK) and _is_short(directory)):
        directory = Path("/tmp") / f"headrace-{os.getuid()}-{name}"  # noqa: S108 - checked to be ours and private
    _make_private(directory)
    note.write_text(f"{directory}\n")
    return directory


def _is_open(directory: Path) -> bool:
    """Whether other accounts can pass through a directory and its parents."""
    return all(p.stat().st_mode & 0o001 for p in (directory, *directory.parents))


def _is_short(directory: Path) -> bool:
    return len(os.fsencode(directory / "controller-internal.sock")) < LONGEST_SOCKET_PATH


def _make_private(directory: Path) -> Path:
    directory.mkdir(exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o066:
        raise CannotRun(f"{directory} belongs to another user or is open to others: remove it, then start again")
    directory.chmod(0o700)
    return directory
