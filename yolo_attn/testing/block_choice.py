"""Which blocks ``--block`` and ``--block-options`` name, and whether they can be tested."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import registry
from ..errors import ArgumentError, UserError
from ..integration import guard_names
from ..integration.queries import layer_types
from ..messages import joined, nearest
from ..registry import BlockSpec
from ..text_files import parse_yaml
from .block_inputs import C, make

_EXAMPLE = "--block my_package.blocks:MyBlock, or the name of a registered block"


def chosen(names: Sequence[str], options: str = "") -> list[BlockSpec]:
    """Return the blocks to test, with the given options as fixed ones.

    Args:
        names: ``module:Class``, or the names of registered layer types.
        options: A YAML mapping of options, which every one of the blocks must have.

    Raises:
        ArgumentError: If a block does not exist, is not registered, cannot be built, or lacks an option.
    """
    if not names:
        raise ArgumentError(f"yolo_attn.testing needs a block to test: {_EXAMPLE}")
    given = _read_options(options)
    guard_names()
    specs = [_with_options(spec, given) for name in dict.fromkeys(names) for spec in _find(name)]
    for spec in specs:
        _check_that_it_builds(spec)
    return specs


def _find(name: str) -> list[BlockSpec]:
    module, colon, cls = name.partition(":")
    if colon:
        return _registered_as(_class(name, module, cls))
    known = layer_types.installed()
    if name in known:
        return [known[name]]
    raise ArgumentError(
        f"--block {name}: no block of that name is registered{registry.not_loaded()}.{nearest(name, known)} Write "
        f"{_EXAMPLE}"
    )


def _class(name: str, module: str, cls: str) -> type:
    found: Any = _imported(name, module)
    for part in cls.split("."):
        if not hasattr(found, part):
            classes = [k for k, v in vars(found).items() if isinstance(v, type)]
            raise ArgumentError(f"--block {name}: {module} has no class {cls!r}.{nearest(part, classes)}")
        found = getattr(found, part)
    if not isinstance(found, type):
        raise ArgumentError(f"--block {name}: {cls} is a {type(found).__name__}; name the class of a block")
    return found


def _imported(name: str, module: str) -> ModuleType:
    if (folder := str(Path.cwd())) not in sys.path:  # last, so that it hides no installed package
        sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ArgumentError(
                f"--block {name}: there is no module {error.name!r}; run in the folder that has it, or pip install its "
                "package"
            ) from error
        raise ArgumentError(f"--block {name}: {module} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        raise ArgumentError(f"--block {name}: importing {module} fails: {_where(error)}") from error


def _registered_as(cls: type) -> list[BlockSpec]:
    specs = [spec for spec in layer_types.installed().values() if spec.cls is cls]
    if not specs:
        raise ArgumentError(
            f"--block {cls.__module__}:{cls.__qualname__}: the class is not registered; write "
            f'@yolo_attn.register("{cls.__name__}") above it'
        )
    return specs


def _read_options(text: str) -> dict[str, Any]:
    found = parse_yaml(text, "--block-options", ArgumentError) if text.strip() else {}
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise ArgumentError(f"--block-options {text!r} must be a mapping, such as '{{factor: 8}}'")
    return dict(found)


def _with_options(spec: BlockSpec, given: Mapping[str, Any]) -> BlockSpec:
    known = spec.options()
    for option in given:
        if option not in known:
            raise ArgumentError(
                f"--block-options: {spec.name} has no option {option!r}.{nearest(option, known)} The options are "
                f"{joined(known) or 'none'}"
            )
    missing = [name for name, p in known.items() if p.default is p.empty and name not in given]
    if missing:
        example = joined(f"{name}: ..." for name in missing)
        raise ArgumentError(
            f"{spec.name} has options without a default: {joined(missing)}; give --block-options '{{{example}}}'"
        )
    return replace(spec, fixed={**spec.fixed, **given})


def _check_that_it_builds(spec: BlockSpec) -> None:
    try:
        make(spec)
    except Exception as error:
        raise ArgumentError(
            f"{spec.name} cannot be built with {C} channels and the options {dict(spec.fixed)}: {_where(error)}; other "
            "options go by --block-options '{name: value}'"
        ) from error


def _where(error: Exception) -> str:
    """Return an exception as one line, with the file and line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text} ({frame.filename}:{frame.lineno})"
