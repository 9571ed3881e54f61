"""Python modules that a policy names, as their files are now.

A changed file becomes a new module beside the old one, as at a restart: calls that run keep the old one's functions and
globals, and a version that fails leaves nothing behind. `importlib.reload` runs new code within the old module, and
would do neither. What a module imports is not looked at.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

Stamp = tuple[int, ...] | None
"""Differs when a file has changed, also by the swap of a link. None: there is no file."""

_OURS = (__file__, importlib.__file__, "<frozen ")


class CannotImport(ValueError):
    """A module, or what is named in it, cannot be imported. The message says why, and where in which file."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    module: ModuleType
    stamp: Stamp


_loaded: dict[str, _Loaded] = {}


def stamps(names: Iterable[str]) -> dict[str, Stamp]:
    """Return the stamps of modules, by name."""
    importlib.invalidate_caches()
    return {name: _stamp(name) for name in names}


def load(name: str) -> ModuleType:
    """Return a module as its file is now; raise `CannotImport`. Not for two threads at once."""
    stamp, known = _stamp(name), _loaded.get(name)
    try:
        if known is None or sys.modules.get(name) is not known.module:
            module = importlib.import_module(name)
        elif known.stamp == stamp:
            return known.module
        else:
            module = _load_again(known.module)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise CannotImport(f"cannot be imported: {_described(error)}") from error
    _loaded[name] = _Loaded(module, stamp)
    return module


def _load_again(old: ModuleType) -> ModuleType:
    spec, loader, file = old.__spec__, old.__loader__, old.__file__
    assert spec is not None
    assert isinstance(loader, SourceFileLoader)
    assert file is not None
    linecache.checkcache(file)
    module = module_from_spec(spec)
    for name, value in vars(old).items():
        if isinstance(value, ModuleType) and sys.modules.get(f"{spec.name}.{name}") is value:
            setattr(module, name, value)  # a package has its submodules
    sys.modules[spec.name] = module
    try:
        # Not from __pycache__, where two versions of one second are told apart by their size only.
        exec(loader.source_to_code(loader.get_data(file), file), vars(module))  # noqa: S102 the administrator's own
    except BaseException:
        sys.modules[spec.name] = old
        raise
    if spec.parent and spec.parent != spec.name:
        setattr(sys.modules[spec.parent], spec.name.rpartition(".")[2], module)
    return module


def _stamp(name: str) -> Stamp:
    spec = _spec(name)
    if spec is None or spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        return None
    try:
        found = Path(spec.origin).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (Exception, SystemExit, KeyboardInterrupt):  # noqa: BLE001 it runs the packages around the module
        return None


def _described(error: BaseException) -> str:
    """Return what an error of somebody's module is, and where."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(_OURS)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {what}" if frames else what
