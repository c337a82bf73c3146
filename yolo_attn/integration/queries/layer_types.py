"""The layers that are installed, and who in Ultralytics has which name."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from ... import registry

TASKS = "ultralytics.nn.tasks"
INJECTED: set[str] = set()  # names that the parser has put into that module


def installed() -> dict[str, registry.BlockSpec]:
    """Return every layer type by name: ours, those of installed packages, those registered in this process."""
    from ... import blocks  # noqa: F401  fills the registry

    registry.load_entry_points()
    return registry.BLOCKS


def spec_of(cls: type) -> registry.BlockSpec | None:
    """Return the layer type whose class is ``cls``."""
    return next((spec for spec in installed().values() if spec.cls is cls), None)


def has_ours(model: object) -> bool:
    """Say whether a torch module holds a layer of the registry."""
    classes = {spec.cls for spec in installed().values()}
    modules = getattr(model, "modules", None)
    return modules is not None and any(type(m) in classes for m in modules())


def ultralytics_layers(tasks: ModuleType) -> list[str]:
    """Return the names of the module classes that a model YAML can use without us."""
    ours = {spec.cls for spec in registry.BLOCKS.values()}
    module = tasks.torch.nn.Module
    return sorted(k for k, v in vars(tasks).items() if inspect.isclass(v) and issubclass(v, module) and v not in ours)


def owner_in_ultralytics(name: str) -> str | None:
    """Return who in Ultralytics has the layer name ``name`` (an import path), or None. Imports nothing."""
    tasks = sys.modules.get(TASKS)
    if tasks is None or getattr(tasks.__spec__, "_initializing", False):
        return _names_in_source().get(name)
    found = vars(tasks).get(name)
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
