"""Find this project's model and data set YAMLs by bare name, from any folder.

Ultralytics looks for ``yolo26n-ema.yaml`` in the working folder first, then we look here. Ultralytics also handles the
scale letter: it asks for ``yolo26n-ema.yaml``, then for ``yolo26-ema.yaml``.
"""

from __future__ import annotations

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


def ultralytics_has(name: str) -> bool:
    """Return whether Ultralytics ships a data set YAML of this name."""
    from ultralytics.utils import ROOT

    return (Path(ROOT) / "cfg" / "datasets" / name).is_file()


def listed(value: Any) -> list[Any]:
    """Return a YAML's value as a list; a single value becomes a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]
