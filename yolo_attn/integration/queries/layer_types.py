"""The layer types that are installed, and which names Ultralytics uses itself."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ... import registry

TASKS = "ultralytics.nn.tasks"
INJECTED: set[str] = set()  # names that our parse_model put into that module
MARKER = "yolo_attn_layer"  # attribute of every layer that we built; checkpoints carry it


def installed() -> dict[str, registry.BlockSpec]:
    """Return every layer type by name: ours, those of installed packages and those registered in this process."""
    from ... import blocks  # noqa: F401  it fills the registry  # start-up time

    registry.load_entry_points()
    return registry.BLOCKS


def spec_of(cls: type) -> registry.BlockSpec | None:
    """Return the layer type whose class is ``cls``."""
    return next((spec for spec in installed().values() if spec.cls is cls), None)


def has_ours(model: object) -> bool:
    """Return whether a torch module holds a layer of the registry, maybe one that was taken out of it since."""
    classes = {spec.cls for spec in installed().values()}
    modules = getattr(model, "modules", None)
    return modules is not None and any(type(m) in classes or hasattr(m, MARKER) for m in modules())


def names_in(model: Mapping[str, Any]) -> list[str]:
    """Return the layer types that the rows of a model YAML name, as far as these are rows."""
    parts = [p for p in (model.get("backbone"), model.get("head")) if isinstance(p, list | tuple)]
    names = [row[2] for p in parts for row in p if isinstance(row, list | tuple) and len(row) > 2]
    return [name for name in names if isinstance(name, str)]


def names_any(model: Mapping[str, Any]) -> bool:
    """Return whether a row of a model YAML names a layer type of the registry."""
    return not installed().keys().isdisjoint(names_in(model))


def tasks() -> ModuleType:
    """Return Ultralytics' module that builds models."""
    return importlib.import_module(TASKS)


def vision_operators() -> ModuleType:
    """Return ``torchvision.ops``, whose classes a row may name."""
    return importlib.import_module("torchvision.ops")


def ultralytics_layers() -> list[str]:
    """Return the layer types that Ultralytics has itself."""
    ours = {spec.cls for spec in registry.BLOCKS.values()}
    module, names = tasks().torch.nn.Module, vars(tasks())
    return sorted(k for k, v in names.items() if inspect.isclass(v) and issubclass(v, module) and v not in ours)


def unnamed_in_ultralytics(name: str) -> str:
    """Return the import path of a layer class that Ultralytics has and its model YAMLs cannot name, or nothing."""
    modules = importlib.import_module("ultralytics.nn.modules")
    found = getattr(modules, name, None)
    is_layer = inspect.isclass(found) and issubclass(found, tasks().torch.nn.Module)
    return f"{modules.__name__}.{name}" if is_layer and name not in vars(tasks()) else ""


def owner_in_ultralytics(name: str) -> str | None:
    """Return the import path of what Ultralytics calls ``name``, or None. Import nothing."""
    module = sys.modules.get(TASKS)
    if module is None or getattr(module.__spec__, "_initializing", False):
        return _names_in_source().get(name)
    found = vars(module).get(name)
    if found is None or name in INJECTED:
        return None
    return f"{getattr(found, '__module__', TASKS)}.{getattr(found, '__qualname__', name)}"


@functools.cache
def _names_in_source() -> dict[str, str]:
    """Read the top-level names of ``ultralytics.nn.tasks`` from its source, without importing it."""
    spec = importlib.util.find_spec("ultralytics")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [f for folder in folders if (f := Path(folder) / "nn" / "tasks.py").is_file()]
    names: dict[str, str] = {}
    for node in ast.parse(files[0].read_text(encoding="utf-8")).body if files else []:
        if isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = f"{TASKS}.{node.name}"
    return names
