"""Find this project's model and data set YAMLs by bare name, from any folder.

Ultralytics looks for ``yolo26n-ema.yaml`` in the working folder first, then we look here. Ultralytics also handles the
scale letter: it asks for ``yolo26n-ema.yaml``, then for ``yolo26-ema.yaml``.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

NO_MODEL = "a model YAML needs the lists 'backbone' and 'head' of [from, repeats, layer, arguments]"


def folder(name: str) -> Path:
    """Return the installed ``model_yamls`` or ``datasets`` folder: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def find(name: str) -> Path | None:
    """Return the project's own YAML of this bare file name, or None."""
    if Path(name).name != name or Path(name).suffix not in (".yaml", ".yml"):
        return None
    candidates = (folder(f) / name for f in ("model_yamls", "datasets"))
    return next((c for c in candidates if c.is_file()), None)


def resolve(name: str) -> Path | None:
    """Return the file that a model, data set or checkpoint name means, without importing Ultralytics; None if none.

    A bare name is searched in the working folder, in this project and in Ultralytics; a model YAML's name then without
    its scale's letter.
    """
    for candidate in dict.fromkeys((name, without_scale(name))):
        if Path(candidate).is_file():
            return Path(candidate)
        if (ours := find(candidate)) is not None:
            return ours
        if (theirs := _in_ultralytics(candidate)) is not None:
            return theirs
    return None


def without_scale(name: str) -> str:
    """Return a model YAML's name without the scale's letter."""
    return re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", name) if name.endswith((".yaml", ".yml")) else name


def _in_ultralytics(name: str) -> Path | None:
    spec = importlib.util.find_spec("ultralytics") if name.endswith((".yaml", ".yml")) else None
    folders = spec.submodule_search_locations or () if spec and Path(name).name == name else ()
    return next((found for folder in folders for found in sorted((Path(folder) / "cfg").rglob(name))), None)


def ultralytics_has(name: str) -> bool:
    """Return whether Ultralytics ships a data set YAML of this name."""
    from ultralytics.utils import ROOT

    return (Path(ROOT) / "cfg" / "datasets" / name).is_file()


def listed(value: Any) -> list[Any]:
    """Return a YAML's value as a list; a single value becomes a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
