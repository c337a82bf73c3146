"""Inspect checkpoints that hold layers of the registry, or layers whose package is not installed."""

from __future__ import annotations

import _compat_pickle
import importlib.util
import os
import pickletools
import pkgutil
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ... import registry
from ...errors import ArgumentError, CheckpointError
from ...messages import joined, nearest
from . import layer_types

# Old import path -> new one, for classes that checkpoints name. An entry stays for ever.
MOVED_CLASSES: dict[str, str] = {}
# Classes of old checkpoints that Ultralytics finds at another place.
_MOVED_BY_ULTRALYTICS = {"Silence", "YOLOv10DetectionModel"}
_MARK = layer_types.MARKER.encode()
_SCAN = "get_unsafe_globals_in_checkpoint"  # of torch 2.6; without it Ultralytics loads as if nothing was asked
# Ultralytics and pickle handle missing or renamed modules of these; the last are Python 2's names.
_THEIRS = {"ultralytics", "torch", "torchvision", "numpy", *sys.stdlib_module_names, *_compat_pickle.IMPORT_MAPPING}


def missing_error(weight: object, classes: list[str]) -> CheckpointError:
    """Return the error for a checkpoint whose layer classes cannot be imported."""
    packages = sorted({c.partition(".")[0] for c in classes})
    fix = f"install the package that has the module {joined(packages)}, or add it to PYTHONPATH"
    if packages == ["__main__"]:
        fix = "it was defined in the script that was run; define it here too, or in a module that both import"
    return CheckpointError(
        f"{weight}: made with the layer class {joined(classes)}, which is not installed here; {fix}, then load the "
        f"file again{registry.not_loaded()}"
    )


def missing_layers(file: Path) -> list[str]:
    """Return the classes (import paths) that a checkpoint with our layers needs and that cannot be imported."""
    pickled = _pickle(file)
    if _MARK not in pickled:
        return []
    named = {str(arg) for op, arg, _ in pickletools.genops(pickled) if op.name == "GLOBAL"}  # as torch.save writes it
    return sorted(name.replace(" ", ".") for name in named if not _importable(*name.split(" ")))


def fork_layers(file: Path) -> list[str]:
    """Return the layer classes of ``ultralytics`` (import paths) that a checkpoint names and this version lacks.

    A fork of Ultralytics wrote it, or a later version. Classes that Ultralytics itself moved are not among them.
    """
    try:
        named = {str(arg) for op, arg, _ in pickletools.genops(_pickle(file)) if op.name == "GLOBAL"}
    except ValueError:  # no pickle, or a broken one, which Ultralytics reports
        return []
    pairs = [name.split(" ") for name in sorted(named) if name.startswith("ultralytics.nn.")]
    return [f"{m}.{name}" for m, name in pairs if name not in _MOVED_BY_ULTRALYTICS and not _has(m, name)]


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def fork_error(weight: object, classes: list[str]) -> CheckpointError:
    """Return the error for a checkpoint of a fork, with the layer type of ours that a class may be."""
    import ultralytics

    known = {name.lower(): name for name in layer_types.installed()}
    aliases = [f"{c}={known[n]}" for c in classes if (n := c.rpartition(".")[2].lower()) in known]
    fix = "load it with what made it"
    if aliases:
        fix += (
            "; if the class is ours under another name, yolo-attn transfer reads its weights with "
            f"--alias {','.join(aliases)}"
        )
    return CheckpointError(
        f"{weight}: made with a fork or a later version of Ultralytics; {ultralytics.__version__} does not have "
        f"{joined(classes)}; {fix}"
    )


def use_aliases(aliases: Mapping[str, str]) -> None:
    """Let checkpoints name classes of forks: import path -> layer type of the registry.

    Raises:
        ArgumentError: If an import path is not one of Ultralytics' layers, or there is no such layer type.
    """
    for path, name in aliases.items():
        spec = layer_types.installed().get(name)
        if spec is None:
            hint = nearest(name, layer_types.installed())
            raise ArgumentError(f"--alias {path}={name}: there is no layer type {name!r}.{hint} See yolo-attn blocks")
        if not path.startswith("ultralytics.nn."):
            raise ArgumentError(f"--alias {path}={name}: {path!r} must be the import path of a fork's layer")
        MOVED_CLASSES[path] = spec.import_path


def holds_our_layers(file: Path) -> bool:
    """Return whether a checkpoint was made with a layer of the registry."""
    return _MARK in _pickle(file)


def add_old_import_paths() -> None:
    """Make moved classes importable from their old paths, where pickle looks for them."""
    for old, new in MOVED_CLASSES.items():
        module, _, name = old.rpartition(".")
        try:
            target = importlib.import_module(module)
        except ModuleNotFoundError:
            target = sys.modules[module] = types.ModuleType(module)
        setattr(target, name, pkgutil.resolve_name(new))


def allow_restricted_loading() -> None:
    """Let ``ULTRALYTICS_SAFE_LOAD=1`` (``torch.load(weights_only=True)``) rebuild the registered layers.

    A block has parts, so allow every module class that the block's file defines or imports. The same for the files of
    its own package that it imports, and so on.
    """
    import torch

    add = getattr(torch.serialization, "add_safe_globals", lambda _: None)  # torch 2.5
    add(sorted(_parts_of_blocks(torch.nn.Module), key=lambda cls: (cls.__module__, cls.__qualname__)))
    if MOVED_CLASSES:  # torch 2.6
        add([(pkgutil.resolve_name(new), old) for old, new in MOVED_CLASSES.items()])


def _parts_of_blocks(base: type) -> set[type]:
    """Return the subclasses of ``base`` in the files of the blocks, and in those of its package that a file imports."""
    found: set[type] = set()
    waiting, done = {spec.cls.__module__ for spec in layer_types.installed().values()}, set[str]()
    while waiting:
        done.add(file := waiting.pop())
        for value in list(vars(sys.modules[file]).values()) if file in sys.modules else []:
            if isinstance(value, type) and issubclass(value, base):
                found.add(value)
            module = getattr(value, "__name__" if isinstance(value, types.ModuleType) else "__module__", None)
            if isinstance(module, str) and module.partition(".")[0] == file.partition(".")[0]:
                waiting |= {module} - done
    return found


def is_restricted() -> bool:
    """Return whether ``ULTRALYTICS_SAFE_LOAD`` asks for restricted loading.

    Raises:
        CheckpointError: If it does and the installed Ultralytics, or it with this torch, ignores it.
    """
    import torch
    import ultralytics

    if os.environ.get("ULTRALYTICS_SAFE_LOAD", "").strip().lower() not in ("1", "true", "yes", "on"):
        return False
    if not hasattr(ultralytics.utils, "SAFE_LOAD"):
        raise CheckpointError(
            f"ULTRALYTICS_SAFE_LOAD is set, but Ultralytics {ultralytics.__version__} ignores it; use a later version"
        )
    if not hasattr(torch.serialization, _SCAN):
        raise CheckpointError(
            f"ULTRALYTICS_SAFE_LOAD is set, but Ultralytics ignores it with torch {torch.__version__}; use torch 2.6 "
            "or later"
        )
    return True


def warn_of_code(name: str) -> None:
    """Say that a checkpoint can run code, before a command that only looks at it loads it."""
    from ultralytics.utils import LOGGER

    if name.endswith(".pt") and not is_restricted():
        LOGGER.warning(f"{name}: loading a checkpoint can run code in it; ULTRALYTICS_SAFE_LOAD=1 prevents that")


def _pickle(file: Path) -> bytes:
    """Return the pickle inside a checkpoint; empty for anything that is not one in torch's zip format."""
    if not file.is_file() or not zipfile.is_zipfile(file):
        return b""
    with zipfile.ZipFile(file) as archive:
        names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
        return archive.read(names[0]) if names else b""


def _importable(module: str, name: str) -> bool:
    if module.partition(".")[0] in _THEIRS:
        return True
    if module in sys.modules:
        return hasattr(sys.modules[module], name)
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
