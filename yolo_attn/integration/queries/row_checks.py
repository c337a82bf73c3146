"""Check the rows of a model YAML before they are built."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import LayerError
from ...messages import counted, joined, nearest
from ...registry import BROKEN_ENTRY_POINTS, BlockSpec, not_loaded
from ...text_files import full_width_in
from . import foreign_rows, layer_types, row_sources, ultralytics_versions, yaml_files, yaml_text

_PACKAGE = __name__.partition(".")[0]
_MOST_ROWS = 8  # in a message
_MOST_REPEATS = 1000  # of a row; building more takes minutes
_ADDED_TO_HEADS = ("reg_max", "end2end", "ch")  # arguments of heads that parse_model adds to those of the row
_CONVERT = "Convert the file: yolo-attn convert FILE -o NEW.yaml"
_OWN = (
    "A layer type of your own: register it in the script that builds the model; for the commands yolo and yolo-attn, "
    "announce its module as an entry point (docs/own_blocks.md)"
)
_SCALE = "n: [0.50, 0.25, 1024]"


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
        LayerError: If a key is malformed, a later Ultralytics is needed, or rows are malformed, name no known layer
            type, have arguments that do not fit or read a layer that does not exist. The message lists all such rows.
    """
    known, file = layer_types.installed(), file_of(d)
    check_keys(d, file)
    table = _table(d, file)
    used = {i: known[row[2]] for i, row in enumerate(table) if row[2] in known}
    ultralytics_versions.check_features(d, table, used, file)
    wrong = []
    hints: dict[str, None] = {}  # each once, in order
    for i, (f, _, name, args) in enumerate(table):
        try:
            if i in used:
                _check_name_is_free(used[i])
                _check_arguments(used[i], args)
            elif not _is_known(name):
                raise _unknown(name)
            row_sources.check(f, i)
            _check_reads_maps(f, i, used)
            if i not in used:
                _check_head(f, name, args)
        except LayerError as error:
            wrong.append(f"layer {i} ({name}): {error}")
            hints |= dict.fromkeys(getattr(error, "hints", ()))
    if wrong:
        sentences = [_listed(wrong), *hints]
        raise LayerError(f"{file}: {' '.join(s if s.endswith('?') else f'{s}.' for s in sentences).rstrip('.')}")
    return table, used


def _listed(wrong: list[str]) -> str:
    more = len(wrong) - _MOST_ROWS
    return "; ".join(wrong[:_MOST_ROWS]) + (f"; and {counted(more, 'more row')}" if more > 0 else "")


class _RowError(LayerError):
    """A row that is wrong, and sentences that are said once for all such rows."""

    def __init__(self, text: str, *hints: str) -> None:
        super().__init__(text)
        self.hints = hints


def _check_arguments(spec: BlockSpec, args: list[Any]) -> None:
    """Check that a row of ours has no bare numbers, as rows of other projects have."""
    if spec.import_path.startswith(f"{_PACKAGE}.") and (reading := foreign_rows.read(spec, args)):
        raise _RowError(
            f"arguments {args}: {joined(reading.meanings)}; write {yaml_text.one_line(reading.arguments)}",
            _CONVERT,
        )


def _check_head(f: Any, name: str, args: list[Any]) -> None:
    """Check the inputs and the number of arguments of a detection head of Ultralytics, which adds others itself."""
    head = vars(layer_types.tasks()).get(name)
    if not (isinstance(head, type) and issubclass(head, layer_types.tasks().Detect)):
        return
    if not row_sources.is_list(f):
        raise LayerError(f"'from' is {f}, but the head reads a list of maps; write e.g. [{f}] or [15, 18, 21]")
    if "anchors" in args:
        raise LayerError(
            f"arguments {yaml_text.one_line(args)}: the heads of Ultralytics have no anchors; write [nc] and delete "
            "'anchors'"
        )
    parameters = list(inspect.signature(head).parameters.values())
    added = [k for k, p in enumerate(parameters) if p.name in _ADDED_TO_HEADS]
    written = parameters[: min(added)] if added else parameters
    if added and len(args) != len(written):
        example = [p.name if p.name in ("nc", "kpt_shape") else p.default for p in written]
        raise LayerError(
            f"arguments {yaml_text.one_line(args)} must be {joined(p.name for p in written)}; write e.g. "
            f"{yaml_text.one_line(example)}"
        )


def _check_reads_maps(f: Any, i: int, used: dict[int, BlockSpec]) -> None:
    """Check that a row does not read a list of maps as one map."""
    for x in row_sources.resolve(f, i):
        if x in used and used[x].pyramid and not (i in used and used[i].inputs == "pyramid"):
            readers = sorted(s.name for s in layer_types.installed().values() if s.inputs == "pyramid")
            raise LayerError(
                f"'from' is {x}, {used[x].name}, which outputs a list of maps; read one of them with "
                f"{joined(readers, last=' or ')}"
            )


def check_parts(content: Any, file: str) -> None:
    """Check that a model YAML has its two lists of rows.

    Raises:
        LayerError: If not.
    """
    if not isinstance(content, Mapping):
        raise LayerError(f"{file}: {yaml_files.NO_MODEL}")
    for part in ("backbone", "head"):
        if not isinstance(content.get(part), list | tuple) or not content[part]:
            has = "is missing" if part not in content else "has no rows" if not content[part] else "is no list of rows"
            raise LayerError(f"{file}: {part!r} {has}; {yaml_files.NO_MODEL}")


def check_keys(d: Mapping[str, Any], file: str) -> None:
    """Check ``nc``, ``scales`` and ``activation``, before Ultralytics uses them.

    Raises:
        LayerError: If one has a value that cannot be used.
    """
    if type(nc := d.get("nc")) is not int or nc < 1:
        has = "is missing" if nc is None else f"is {nc!r}"
        raise LayerError(f"{file}: 'nc' {has}; write the number of classes, e.g. nc: 80")
    scales = d.get("scales") or {}
    if not isinstance(scales, Mapping):
        raise LayerError(f"{file}: 'scales' must have entries such as '{_SCALE}', got {scales!r}")
    for name, values in scales.items():
        numbers = values if isinstance(values, list | tuple) else []
        if len(numbers) != 3 or not all(type(x) in (int, float) and x > 0 for x in numbers):
            raise LayerError(
                f"{file}: scale {name}: {values!r} must be [depth, width, max_channels], three numbers above 0, e.g. "
                f"'{_SCALE}'"
            )
    for key in ("depth_multiple", "width_multiple"):
        if not scales and key in d and not (type(d[key]) in (int, float) and d[key] > 0):
            raise LayerError(f"{file}: {key!r} must be a number above 0, got {d[key]!r}")
    if (scale := d.get("scale")) and scales and scale not in scales:
        raise LayerError(f"{file}: no scale {scale!r}; it has {joined(scales)}")
    if d.get("activation") is not None:
        _check_activation(d["activation"], file)


def _check_activation(text: Any, file: str) -> None:
    """Check that an activation is a class of ``torch.nn`` with literal arguments: Ultralytics runs it as Python."""
    try:
        call = ast.parse(text, mode="eval").body if isinstance(text, str) else None
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func).removeprefix("torch.")
            for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
                ast.literal_eval(argument)
            if name.startswith("nn.") and _is_module(getattr(layer_types.tasks().torch.nn, name[3:], None)):
                return
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise LayerError(f"{file}: activation: {_short(text)} must be a call of a class of torch.nn, e.g. nn.ReLU()")


def _table(d: Mapping[str, Any], file: str) -> list[list[Any]]:
    """Return a copy of all rows, each a list of four."""
    check_parts(d, file)
    table = [row for part in ("backbone", "head") for row in d[part]]
    wrong = [f"layer {i}{problem}" for i, row in enumerate(table) if (problem := _malformed(row))]
    depths = [values[0] for values in (d.get("scales") or {}).values()] or [d.get("depth_multiple", 1)]
    deepest = max(depths)
    wrong = wrong or [
        f"layer {i} ({row[2]}): {row[1] * deepest:g} repeats (the row's {row[1]:g} x depth {deepest:g}); at most "
        f"{_MOST_REPEATS} are built"
        for i, row in enumerate(table)
        if row[1] * deepest > _MOST_REPEATS
    ]
    if wrong:
        raise LayerError(f"{file}: {_listed(wrong)}")
    return [[f, n, name, list(args)] for f, n, name, args in table]


def _malformed(row: Any) -> str:
    """Return what is wrong with the form of a row, to follow its number; empty if nothing is."""
    if not isinstance(row, list | tuple) or len(row) != 4 or not isinstance(row[2], str):
        text = f": a row must be [from, repeats, layer, arguments], got {_short(row)}"
        if wide := full_width_in(str(row)):
            return f"{text}.{wide}"
        if isinstance(row, str) and row.strip().startswith("["):
            return f"{text}; write the row without quotation marks"
        if isinstance(row, list | tuple) and len(row) == 3 and isinstance(row[2], str):
            return f"{text}; without arguments, write [{row[0]}, {row[1]}, {row[2]}, []]"
        return text
    if type(row[1]) not in (int, float) or row[1] < 1:
        return f" ({row[2]}): the number of repeats must be a number from 1, got {row[1]!r}; write 1"
    if not isinstance(row[3], list | tuple):
        write = yaml_text.one_line([row[3]]) if isinstance(row[3], dict) else "[] for none"
        return f" ({row[2]}): arguments must be a list, got {row[3]!r}; write {write}"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]} ..."


def _check_name_is_free(spec: BlockSpec) -> None:
    theirs = layer_types.owner_in_ultralytics(spec.name)
    if theirs is not None and vars(layer_types.tasks())[spec.name] is not spec.cls:
        raise LayerError(
            f"the name is both {theirs} of this Ultralytics and {spec.import_path}; register it under another name"
        )


def _is_known(name: str) -> bool:
    """Return whether Ultralytics finds a class of layers under this name. It would call anything that it finds."""
    there = layer_types.tasks()
    if "torchvision.ops." in name:
        return _is_module(getattr(layer_types.vision_operators(), name.rpartition(".")[2], None))
    if "nn." in name:
        return _is_module(getattr(there.torch.nn, name.rpartition("nn.")[2], None))
    return name not in layer_types.INJECTED and _is_module(vars(there).get(name))


def _is_module(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, layer_types.tasks().torch.nn.Module)


def _unknown(name: str) -> LayerError:
    """Return the error for a layer type that does not exist; it names ours, or the nearest one."""
    if ours := foreign_rows.our_name(name):
        return _RowError(f"the layer type is {ours} here; write {ours}", _CONVERT)
    if cls := layer_types.unnamed_in_ultralytics(name):
        return _RowError(
            f"Ultralytics has the class, but no model YAML can name it; register it: "
            f"yolo_attn.register({name!r})({cls})",
            _OWN,
        )
    choices = [*layer_types.installed(), *layer_types.ultralytics_layers()]
    if "nn." in name:
        choices = [f"nn.{k}" for k in vars(layer_types.tasks().torch.nn) if k[:1].isupper()]
    if hint := nearest(name, choices):
        return _RowError(f"unknown layer type.{hint}{not_loaded()}")
    ours = joined(sorted(layer_types.installed()))
    return _RowError("unknown layer type", f"Layer types of yolo-attn: {ours}{not_loaded()}", _OWN)
