"""``.pt`` files that hold layers of the registry, or layers whose package is not installed.

Ultralytics meets a class that it cannot import by installing a package of that module's name from the index. For a
layer of the registry that is never right, so the file is looked through first.
"""

from __future__ import annotations

import _compat_pickle
import functools
import importlib.util
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import registry
from ...errors import CheckpointError
from ..weights import provenance
from . import layer_types

# Whose modules are missing or renamed is for Ultralytics and pickle to deal with; the last are Python 2's names.
_THEIRS = {"ultralytics", "torch", "torchvision", "numpy", *sys.stdlib_module_names, *_compat_pickle.IMPORT_MAPPING}


def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``torch_safe_load``: say which layer is missing, and let restricted loading rebuild ours."""

    @functools.wraps(original)
    def torch_safe_load(weight: str | Path, *args: Any, **kwargs: Any) -> Any:
        layer_types.installed()
        missing = missing_layers(Path(str(weight)))
        if missing:
            raise _missing(weight, missing)
        allow_restricted_loading()
        try:
            loaded = original(weight, *args, **kwargs)
        except AttributeError as error:  # the module is there, the class is not
            found = re.search(r"attribute '(\w+)' on <?module '([\w.]+)'", str(error))
            if found and holds_our_layers(Path(str(weight))):
                raise _missing(weight, [f"{found[2]}.{found[1]}"]) from error
            raise
        provenance.move_to_checkpoint(loaded[0])
        return loaded

    return torch_safe_load


def _missing(weight: object, classes: list[str]) -> CheckpointError:
    packages = sorted({c.partition(".")[0] for c in classes})
    mend = f"install the package that has the module {', '.join(packages)}, or put it on PYTHONPATH"
    if packages == ["__main__"]:
        mend = "it was defined in the script that was run: define it here too, or in a module that both import"
    return CheckpointError(
        f"{weight}: made with the layer class {', '.join(classes)}, which is not installed here; {mend}, and load the "
        f"file again{registry.not_loaded()}"
    )


def missing_layers(file: Path) -> list[str]:
    """Return the classes (import paths) that a checkpoint with our layers needs and that cannot be imported."""
    pickled = _pickle(file)
    if not _is_ours(pickled):
        return []
    named = {str(arg) for op, arg, _ in pickletools.genops(pickled) if op.name == "GLOBAL"}  # as torch.save writes it
    return sorted(name.replace(" ", ".") for name in named if not _importable(*name.split(" ")))


def holds_our_layers(file: Path) -> bool:
    """Say whether a checkpoint was made with a layer of the registry."""
    return _is_ours(_pickle(file))


def allow_restricted_loading() -> None:
    """Let ``ULTRALYTICS_SAFE_LOAD=1`` (``torch.load(weights_only=True)``) rebuild the registered layers.

    Everything in a block's own file that is a module class is allowed: a block is made of parts.
    """
    import torch

    add = getattr(torch.serialization, "add_safe_globals", None)  # torch 2.5
    if add is None:
        return
    files = {spec.cls.__module__ for spec in layer_types.installed().values()}
    found = [v for f in files for v in vars(sys.modules[f]).values() if isinstance(v, type)]
    add([c for c in found if issubclass(c, torch.nn.Module) and c.__module__ in files])


def _pickle(file: Path) -> bytes:
    """Return the pickle inside a checkpoint; empty for anything that is not one in torch's zip format."""
    if not file.is_file() or not zipfile.is_zipfile(file):
        return b""
    with zipfile.ZipFile(file) as archive:
        names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
        return archive.read(names[0]) if names else b""


def _is_ours(pickled: bytes) -> bool:
    from ..patches.parse_model import MARKER

    return MARKER.encode() in pickled


def _importable(module: str, name: str) -> bool:
    if module.partition(".")[0] in _THEIRS:
        return True
    if module in sys.modules:
        return hasattr(sys.modules[module], name)
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
