"""Model YAMLs and data set YAMLs of this project by bare name, from any folder.

``yolo26n-ema.yaml`` is looked for in the working folder first (Ultralytics does that), then here. The scale letter is
Ultralytics' business: it asks for ``yolo26n-ema.yaml`` and then for ``yolo26-ema.yaml``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ...errors import LayerError

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


def searching_ours_too(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``check_file``: a bare name that neither the working folder nor Ultralytics has may be one of ours."""

    @functools.wraps(original)
    def check_file(file: str | Path, *args: Any, **kwargs: Any) -> Any:
        name = str(file).strip()
        ours = None if Path(name).exists() else find(name)
        if ours is not None and not _ultralytics_has(name):
            file = str(ours)
        return original(file, *args, **kwargs)

    return check_file


def explaining_what_is_no_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``yaml_model_load``: a file that cannot be a model says so, instead of failing somewhere behind."""

    @functools.wraps(original)
    def yaml_model_load(path: str | Path, *args: Any, **kwargs: Any) -> Any:
        try:
            content = original(path, *args, **kwargs)
        except (yaml.YAMLError, SyntaxError, ValueError) as error:  # later versions raise their own for bad YAML
            raise LayerError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        except TypeError as error:  # a list or nothing where the mapping should be
            raise LayerError(f"{path}: {NO_MODEL}") from error
        if not all(isinstance(content.get(part), list | tuple) for part in ("backbone", "head")):
            raise LayerError(f"{path}: {NO_MODEL}")
        return content

    return yaml_model_load


def _ultralytics_has(name: str) -> bool:
    from ultralytics.utils import ROOT

    return (Path(ROOT) / "cfg" / "datasets" / name).is_file()
