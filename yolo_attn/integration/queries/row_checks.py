"""Check the rows of a model YAML before they are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import LayerError
from ...messages import joined, nearest
from ...registry import BROKEN_ENTRY_POINTS, BlockSpec, not_loaded
from . import layer_types, row_sources, yaml_files


def file_of(d: dict[str, Any]) -> str:
    """Return the name of a model YAML's file, for messages."""
    return Path(str(d.get("yaml_file") or "model YAML")).name


def misspells_ours(d: dict[str, Any]) -> bool:
    """Return whether an unknown layer type is probably one of ours: misspelt, or of a package that did not load."""
    ours, theirs = layer_types.installed(), layer_types.ultralytics_layers()
    for name in layer_types.names_in(d):
        if "." not in name and not _is_known(name):
            near = nearest(name, ours) == nearest(name, [*ours, *theirs]) != ""
            return near or name in layer_types.INJECTED or bool(BROKEN_ENTRY_POINTS)
    return False


def check(d: dict[str, Any]) -> tuple[list[list[Any]], dict[int, BlockSpec]]:
    """Return a copy of all rows, and the layer type of each row that is one of the registry's.

    Raises:
        LayerError: If a row is malformed, names no known layer type, or reads a layer that does not exist.
    """
    known, file = layer_types.installed(), file_of(d)
    table = _table(d, file)
    used: dict[int, BlockSpec] = {}
    for i, (f, _, name, _) in enumerate(table):
        try:
            if name in known:
                _check_name_is_free(known[name])
                used[i] = known[name]
            elif not _is_known(name):
                raise _unknown(name)
            row_sources.check(f, i)
            _check_reads_maps(f, i, used)
        except LayerError as error:
            raise LayerError(f"{file}: layer {i} ({name}): {error}") from None
    return table, used


def _check_reads_maps(f: Any, i: int, used: dict[int, BlockSpec]) -> None:
    """Check that a row does not read a list of maps as one map."""
    for x in row_sources.resolve(f, i):
        if x in used and used[x].pyramid and not (i in used and used[i].inputs == "pyramid"):
            readers = sorted(s.name for s in layer_types.installed().values() if s.inputs == "pyramid")
            raise LayerError(
                f"'from' is {x}, {used[x].name}, which outputs a list of maps; read one of them with "
                f"{joined(readers, last=' or ')}"
            )


def _table(d: dict[str, Any], file: str) -> list[list[Any]]:
    """Return a copy of all rows, each a list of four."""
    parts: list[Any] = [d.get("backbone"), d.get("head")]
    if not all(isinstance(p, list) for p in parts):
        raise LayerError(f"{file}: {yaml_files.NO_MODEL}")
    table = [row for p in parts for row in p]
    for i, row in enumerate(table):
        if not isinstance(row, list | tuple) or len(row) != 4 or not isinstance(row[2], str):
            raise LayerError(f"{file}: layer {i}: a row must be [from, repeats, layer, arguments], got {row!r}")
        where = f"{file}: layer {i} ({row[2]})"
        if not isinstance(row[1], int | float):
            raise LayerError(f"{where}: the number of repeats must be a number, got {row[1]!r}; write 1")
        if not isinstance(row[3], list | tuple):
            raise LayerError(f"{where}: arguments must be a list, got {row[3]!r}; write [] for none")
    return [[f, n, name, list(args)] for f, n, name, args in table]


def _check_name_is_free(spec: BlockSpec) -> None:
    theirs = layer_types.owner_in_ultralytics(spec.name)
    if theirs is not None and vars(layer_types.tasks())[spec.name] is not spec.cls:
        raise LayerError(
            f"the name is both {theirs} of this Ultralytics and {spec.import_path}; register it under another name"
        )


def _is_known(name: str) -> bool:
    there = layer_types.tasks()
    if "nn." in name:
        return hasattr(there.torch.nn, name.rpartition("nn.")[2])
    return "torchvision.ops." in name or (name in vars(there) and name not in layer_types.INJECTED)


def _unknown(name: str) -> LayerError:
    """Return the error for a layer type that does not exist; it names the nearest one."""
    choices = [*layer_types.installed(), *layer_types.ultralytics_layers()]
    if "nn." in name:
        choices = [f"nn.{k}" for k in vars(layer_types.tasks().torch.nn) if k[:1].isupper()]
    ours = joined(sorted(layer_types.installed()))
    return LayerError(f"unknown layer type.{nearest(name, choices)} Layer types of yolo-attn: {ours}{not_loaded()}")
